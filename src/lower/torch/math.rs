//! Python's `math`.
//!
//! Input: numbers, and constant tensors, which count as their value. Output: numbers, or Python's exceptions where a
//! function has no value. Limit: integers have 64 bits; `fsum` is exact to twice the precision of a float.

use ruff_python_ast::Operator;

use crate::lower::error::{R, Raise};
use crate::lower::interp::{Bound, Interp};
use crate::lower::torch::stdlib::{Entry, entry};
use crate::lower::torch::{signature, whole};
use crate::lower::value::Value;

macro_rules! float {
    ($name:literal, $run:expr) => {
        entry("math", $name, "x", |this, args| {
            let run: fn(f64) -> f64 = $run;
            let number = real(this, &args, "x")?;
            checked(number, run(number))
        })
    };
}

pub(super) static FUNCTIONS: &[Entry] = &[
    float!("exp", f64::exp),
    float!("sin", f64::sin),
    float!("cos", f64::cos),
    float!("tan", f64::tan),
    float!("tanh", f64::tanh),
    float!("atan", f64::atan),
    float!("log2", f64::log2),
    float!("log10", f64::log10),
    float!("log1p", f64::ln_1p),
    float!("fabs", f64::abs),
    float!("sinh", f64::sinh),
    float!("cosh", f64::cosh),
    float!("asin", f64::asin),
    float!("acos", f64::acos),
    float!("exp2", f64::exp2),
    float!("expm1", f64::exp_m1),
    float!("cbrt", f64::cbrt),
    float!("asinh", f64::asinh),
    float!("acosh", f64::acosh),
    float!("atanh", f64::atanh),
    float!("radians", f64::to_radians),
    float!("degrees", f64::to_degrees),
    entry("math", "sqrt", "x", |this, args| {
        let number = real(this, &args, "x")?;
        if number < 0.0 {
            return Err(domain());
        }
        Ok(Value::Float(number.sqrt()))
    }),
    entry("math", "log", "x, base=None", |this, args| {
        let number = real(this, &args, "x")?;
        if number <= 0.0 {
            return Err(domain());
        }
        Ok(Value::Float(if args.get("base").is_none() {
            number.ln()
        } else {
            match real(this, &args, "base")? {
                base if base <= 0.0 => return Err(domain()),
                1.0 => return Err(Raise::python("ZeroDivisionError", "float division by zero")),
                // Two logarithms, also where there is one of this base: so Python rounds.
                base => number.ln() / base.ln(),
            }
        }))
    }),
    entry("math", "floor", "x", |this, args| match args.get("x") {
        value @ (Value::Int(_) | Value::Dim(_)) => Ok(value),
        _ => whole(real(this, &args, "x")?.floor()),
    }),
    entry("math", "ceil", "x", |this, args| match args.get("x") {
        value @ (Value::Int(_) | Value::Dim(_)) => Ok(value),
        _ => whole(real(this, &args, "x")?.ceil()),
    }),
    entry("math", "trunc", "x", |this, args| whole(real(this, &args, "x")?.trunc())),
    entry("math", "pow", "x, y", |this, args| {
        Ok(Value::Float(real(this, &args, "x")?.powf(real(this, &args, "y")?)))
    }),
    entry("math", "isqrt", "x", |_, args| {
        let number = args.int("x")?;
        if number < 0 {
            return Err(Raise::value_error("isqrt() argument must be nonnegative"));
        }
        Ok(Value::Int(number.isqrt()))
    }),
    entry("math", "gcd", "*xs", |_, args| {
        let list = whole_list(&args)?;
        Ok(Value::Int(list.into_iter().fold(0, gcd)))
    }),
    entry("math", "prod", "x, start=1", |this, args| {
        let mut total = args.get("start");
        for item in this.iterate(&args.get("x"))? {
            total = this.binary(Operator::Mult, &total, &item)?;
        }
        Ok(total)
    }),
    entry("math", "comb", "n, k", |_, args| {
        let (n, k) = (args.count("n")?, args.count("k")?);
        let mut total: i64 = 1;
        for at in 0..k.min(n.saturating_sub(k)) {
            let factor = i64::try_from(n - at).map_err(|_| Raise::overflow())?;
            total =
                total.checked_mul(factor).ok_or_else(Raise::overflow)? / (i64::try_from(at).unwrap_or(0) + 1);
        }
        Ok(Value::Int(if k > n { 0 } else { total }))
    }),
    entry("math", "factorial", "n", |_, args| {
        let n = i64::try_from(args.count("n")?).map_err(|_| Raise::overflow())?;
        let product = (2..=n.min(21)).try_fold(1i64, i64::checked_mul);
        product.map(Value::Int).ok_or_else(Raise::overflow)
    }),
    entry("math", "hypot", "*xs", |this, args| {
        let mut length = 0.0f64;
        for value in &args.rest {
            length = length.hypot(this.real_of(value)?);
        }
        Ok(Value::Float(length))
    }),
    entry("math", "dist", "p, q", |this, args| {
        let (p, q) = (this.iterate(&args.get("p"))?, this.iterate(&args.get("q"))?);
        if p.len() != q.len() {
            return Err(Raise::value_error("both points must have the same number of dimensions"));
        }
        let mut length = 0.0f64;
        for (p, q) in p.iter().zip(&q) {
            length = length.hypot(this.real_of(p)? - this.real_of(q)?);
        }
        Ok(Value::Float(length))
    }),
    entry("math", "atan2", "y, x", |this, args| {
        Ok(Value::Float(real(this, &args, "y")?.atan2(real(this, &args, "x")?)))
    }),
    entry("math", "remainder", "x, y", |this, args| {
        let (x, y) = (real(this, &args, "x")?, real(this, &args, "y")?);
        if y == 0.0 || x.is_infinite() {
            return Err(domain());
        }
        Ok(Value::Float(libm::remainder(x, y)))
    }),
    entry("math", "ldexp", "x, i", |this, args| {
        let power = i32::try_from(args.int("i")?.clamp(-5000, 5000)).unwrap_or(0);
        let number = real(this, &args, "x")?;
        checked(number, libm::ldexp(number, power))
    }),
    entry("math", "frexp", "x", |this, args| {
        let (fraction, power) = libm::frexp(real(this, &args, "x")?);
        this.tuple(vec![Value::Float(fraction), Value::Int(i64::from(power))])
    }),
    entry("math", "modf", "x", |this, args| {
        let number = real(this, &args, "x")?;
        let fraction = if number.is_infinite() { 0.0f64.copysign(number) } else { number.fract() };
        this.tuple(vec![Value::Float(fraction), Value::Float(number.trunc())])
    }),
    entry("math", "lcm", "*xs", |_, args| {
        let list = whole_list(&args)?;
        let mut total = 1i64;
        for next in list {
            if next == 0 {
                return Ok(Value::Int(0));
            }
            let step = next.checked_abs().ok_or_else(Raise::overflow)? / gcd(total, next);
            total = total.checked_mul(step).ok_or_else(Raise::overflow)?;
        }
        Ok(Value::Int(total))
    }),
    entry("math", "perm", "n, k=None", |_, args| {
        let n = args.count("n")?;
        let k = if args.get("k").is_none() { n } else { args.count("k")? };
        if k > n {
            return Ok(Value::Int(0));
        }
        let mut total = 1i64;
        // From its largest factor down: past 64 bits, or at a small one, the loop ends soon.
        for factor in (n - k + 1..=n).rev() {
            let factor = i64::try_from(factor).map_err(|_| Raise::overflow())?;
            total = total.checked_mul(factor).ok_or_else(Raise::overflow)?;
        }
        Ok(Value::Int(total))
    }),
    entry("math", "fsum", "xs", |this, args| {
        // Neumaier's sum: what rounding loses is added at the end.
        let (mut total, mut lost) = (0.0f64, 0.0f64);
        for value in this.iterate(&args.get("xs"))? {
            let number = this.real_of(&value)?;
            let next = total + number;
            lost +=
                if total.abs() >= number.abs() { (total - next) + number } else { (number - next) + total };
            total = next;
        }
        Ok(Value::Float(total + lost))
    }),
    entry("math", "copysign", "x, y", |this, args| {
        Ok(Value::Float(real(this, &args, "x")?.copysign(real(this, &args, "y")?)))
    }),
    entry("math", "erf", "x", |this, args| Ok(Value::Float(libm::erf(real(this, &args, "x")?)))),
    entry("math", "erfc", "x", |this, args| Ok(Value::Float(libm::erfc(real(this, &args, "x")?)))),
    entry("math", "gamma", "x", |this, args| Ok(Value::Float(libm::tgamma(real(this, &args, "x")?)))),
    entry("math", "lgamma", "x", |this, args| Ok(Value::Float(libm::lgamma(real(this, &args, "x")?)))),
    entry("math", "fmod", "x, y", |this, args| {
        Ok(Value::Float(real(this, &args, "x")? % real(this, &args, "y")?))
    }),
    entry("math", "isclose", "a, b, rel_tol=1e-9, abs_tol=0.0", |this, args| {
        let (a, b) = (real(this, &args, "a")?, real(this, &args, "b")?);
        let within =
            (real(this, &args, "rel_tol")? * a.abs().max(b.abs())).max(real(this, &args, "abs_tol")?);
        Ok(Value::Bool((a - b).abs() <= within))
    }),
    entry("math", "isfinite", "x", |this, args| Ok(Value::Bool(real(this, &args, "x")?.is_finite()))),
    entry("math", "isnan", "x", |this, args| Ok(Value::Bool(real(this, &args, "x")?.is_nan()))),
    entry("math", "isinf", "x", |this, args| Ok(Value::Bool(real(this, &args, "x")?.is_infinite()))),
];

/// The constant of this name.
pub(super) fn constant(name: &str) -> Option<f64> {
    Some(match name {
        "pi" => std::f64::consts::PI,
        "e" => std::f64::consts::E,
        "tau" => std::f64::consts::TAU,
        "inf" => f64::INFINITY,
        "nan" => f64::NAN,
        _ => return None,
    })
}

/// The names of the constants.
pub(super) const CONSTANTS: [&str; 5] = ["pi", "e", "tau", "inf", "nan"];
/// Names that Python 3.11 or a later one has and this program lacks.
pub(super) const MISSING: [&str; 4] = ["nextafter", "ulp", "sumprod", "fma"];

fn domain() -> Box<Raise> {
    Raise::value_error("math domain error")
}

fn real(this: &mut Interp<'_>, args: &Bound, name: &str) -> R<f64> {
    this.real_of(&args.get(name))
}

/// A result as Python gives it: none where there is none, or where it is too large.
fn checked(number: f64, result: f64) -> R<Value> {
    if result.is_nan() && !number.is_nan() {
        return Err(domain());
    }
    if result.is_infinite() && number.is_finite() {
        return match number.abs() <= 1.0 {
            // A logarithm of 0, an `atanh` of 1.
            true => Err(domain()),
            false => Err(Raise::python("OverflowError", "math range error")),
        };
    }
    Ok(Value::Float(result))
}

fn whole_list(args: &Bound) -> R<Vec<i64>> {
    let list: Option<Vec<i64>> =
        args.rest.iter().map(|value| signature::ints(value)?.first().copied()).collect();
    list.ok_or_else(|| {
        Raise::unsupported(format!("{} of other than integers is not supported", args.function))
    })
}

fn gcd(a: i64, b: i64) -> i64 {
    let (mut a, mut b) = (a.saturating_abs(), b.saturating_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
