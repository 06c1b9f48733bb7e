//! The generator behind Python's `random` and numpy's `RandomState`, and the functions with which the Python beside
//! this file draws from it.
//!
//! Input: seeds. Output: the 32-bit words of the Mersenne Twister MT19937 (Matsumoto and Nishimura, 1998), seeded as
//! CPython and as numpy do. Limit: a generator in `forward` must have been seeded there, or the network would be
//! another one at each call.

use crate::lower::error::{R, Raise};
use crate::lower::interp::{Bound, Interp, Mode};
use crate::lower::value::{Builtin, Value};

const WORDS: usize = 624;
const MIDDLE: usize = 397;
/// Most generators of one run.
const MAX_GENERATORS: usize = 1_000;

/// A generator, and the pass in which it was seeded.
pub(crate) struct Twister {
    words: Vec<u32>,
    at: usize,
    body: u32,
    seeded: bool,
}

impl Twister {
    /// As `numpy.random.seed(seed)`.
    fn of_number(seed: u32) -> Twister {
        let mut words = vec![seed];
        while words.len() < WORDS {
            let last = words[words.len() - 1];
            let place = u32::try_from(words.len()).unwrap_or(0);
            words.push(1_812_433_253_u32.wrapping_mul(last ^ (last >> 30)).wrapping_add(place));
        }
        Twister { words, at: WORDS, body: 0, seeded: false }
    }

    /// As `random.seed(seed)` of CPython.
    fn of_python(seed: u64) -> Twister {
        let low = u32::try_from(seed & 0xffff_ffff).unwrap_or(0);
        let high = u32::try_from(seed >> 32).unwrap_or(0);
        let key = if high == 0 { vec![low] } else { vec![low, high] };
        let mut twister = Twister::of_number(19_650_218);
        let words = &mut twister.words;
        let (mut i, mut j) = (1, 0);
        for _ in 0..WORDS {
            let last = words[i - 1];
            let mixed = words[i] ^ (last ^ (last >> 30)).wrapping_mul(1_664_525);
            words[i] = mixed.wrapping_add(key[j]).wrapping_add(u32::try_from(j).unwrap_or(0));
            i += 1;
            j = (j + 1) % key.len();
            if i == WORDS {
                words[0] = words[WORDS - 1];
                i = 1;
            }
        }
        for _ in 1..WORDS {
            let last = words[i - 1];
            let mixed = words[i] ^ (last ^ (last >> 30)).wrapping_mul(1_566_083_941);
            words[i] = mixed.wrapping_sub(u32::try_from(i).unwrap_or(0));
            i += 1;
            if i == WORDS {
                words[0] = words[WORDS - 1];
                i = 1;
            }
        }
        words[0] = 0x8000_0000;
        twister
    }

    fn word(&mut self) -> u32 {
        if self.at == WORDS {
            for at in 0..WORDS {
                let next = self.words[(at + 1) % WORDS];
                let joined = (self.words[at] & 0x8000_0000) | (next & 0x7fff_ffff);
                let odd = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
                self.words[at] = self.words[(at + MIDDLE) % WORDS] ^ (joined >> 1) ^ odd;
            }
            self.at = 0;
        }
        let mut word = self.words[self.at];
        self.at += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    /// A multiple of 2 to the power -53 below 1.
    fn float(&mut self) -> f64 {
        let (high, low) = (self.word() >> 5, self.word() >> 6);
        (f64::from(high) * 67_108_864.0 + f64::from(low)) / 9_007_199_254_740_992.0
    }
}

static FUNCTIONS: &[Builtin] = &[
    Builtin {
        name: "_new",
        signature: "python",
        run: |this, args| {
            if this.twisters.len() >= MAX_GENERATORS {
                return Err(Raise::limit("random generators: too many"));
            }
            this.tick(WORDS)?;
            this.twisters.push(if args.bool("python")? {
                Twister::of_python(0)
            } else {
                Twister::of_number(0)
            });
            Ok(Value::Int(i64::try_from(this.twisters.len() - 1).unwrap_or(0)))
        },
    },
    Builtin {
        name: "_seed",
        signature: "handle, seed, python",
        run: |this, args| {
            this.tick(WORDS)?;
            let body = if args.get("seed").is_none() { 0 } else { this.body };
            let seed = match args.get("seed") {
                Value::None => 0,
                Value::Int(seed) => seed.unsigned_abs(),
                Value::Bool(seed) => u64::from(seed),
                other => {
                    return Err(Raise::unsupported(format!(
                        "a random seed of {} is not supported: expected a whole number",
                        other.type_name()
                    )));
                }
            };
            let python = args.bool("python")?;
            let seeded = if python {
                Twister::of_python(seed)
            } else {
                Twister::of_number(u32::try_from(seed).unwrap_or(u32::MAX))
            };
            let told = !args.get("seed").is_none();
            *known(this, &args)? = Twister { body, seeded: told, ..seeded };
            Ok(Value::None)
        },
    },
    Builtin {
        name: "_word",
        signature: "handle",
        run: |this, args| Ok(Value::Int(i64::from(drawn(this, &args)?.word()))),
    },
    Builtin { name: "_permuted", signature: "", run: not_reproducible },
    Builtin {
        name: "_float",
        signature: "handle",
        run: |this, args| Ok(Value::Float(drawn(this, &args)?.float())),
    },
];

/// Notes that the network is another one each time that it is made.
fn not_reproducible(this: &mut Interp<'_>, _args: Bound) -> R<Value> {
    this.chance.get_or_insert("torch.randperm draws another order each time");
    Ok(Value::None)
}

/// A function of this file.
pub(crate) fn find(name: &str) -> Option<&'static Builtin> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

fn known<'a>(this: &'a mut Interp<'_>, args: &Bound) -> R<&'a mut Twister> {
    let at = args.count("handle")?;
    this.twisters.get_mut(at).ok_or_else(|| Raise::unsupported("an unknown random generator"))
}

/// The generator of the call, if numbers may be drawn from it now.
fn drawn<'a>(this: &'a mut Interp<'_>, args: &Bound) -> R<&'a mut Twister> {
    this.tick(1)?;
    let (mode, body) = (this.mode, this.body);
    if !known(this, args)?.seeded {
        this.chance.get_or_insert("a random number of Python or numpy without a seed");
    }
    let twister = known(this, args)?;
    if mode != Mode::Building && twister.body != body {
        return Err(Raise::unsupported(
            "a random number of Python or numpy in forward: a network must not depend on chance at each call; draw \
             it in __init__, seed the generator in forward, or use torch's random functions and layers",
        ));
    }
    Ok(twister)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Expected: `random.seed(s); random.getrandbits(32)` and `random.random()` of CPython 3.11.
    #[test]
    fn words_and_floats_are_those_of_cpython() {
        let mut one = Twister::of_python(1);
        assert_eq!([one.word(), one.word()], [577_090_037, 2_444_712_010]);
        let mut large = Twister::of_python(1 << 40);
        assert_eq!(large.float(), 0.103_639_456_281_237_5);
    }

    // Expected: `numpy.random.seed(42); numpy.random.rand()`.
    #[test]
    fn floats_are_those_of_numpy() {
        assert_eq!(Twister::of_number(42).float(), 0.374_540_118_847_362_5);
    }
}
