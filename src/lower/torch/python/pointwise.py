"""Functions of torch that are computed element by element, in terms of others, in the Python that the front-end reads.

Input: tensors and numbers, as in PyTorch 2.13. Output: PyTorch's numbers.
Limit: complex numbers and `out=` are left out.
"""
import math

import torch
import torch.nn.functional as F

def bernoulli(input, p=None, *, generator=None):
    return (torch.rand_like(input) < (input if p is None else p)).to(input.dtype)


def frac(input):
    return input - input.trunc()


def hypot(input, other):
    return torch.sqrt(input * input + other * other)


def logaddexp(input, other):
    return torch.maximum(input, other) + torch.log1p(torch.exp(-(input - other).abs()))


def fmod(input, other):
    return input - torch.trunc(input / other) * other


def heaviside(input, values):
    return torch.where(input == 0, values, (input > 0).to(input.dtype))


def exp2(input):
    return 2**input


def logit(input, eps=None):
    if eps is not None:
        input = input.clamp(eps, 1 - eps)
    return torch.log(input / (1 - input))


def isnan(input):
    return input != input


def isinf(input):
    return input.abs() == math.inf


def isfinite(input):
    return input.abs() < math.inf


def nan_to_num(input, nan=0.0, posinf=None, neginf=None):
    largest = 3.4028234663852886e38
    x = torch.where(input != input, nan, input)
    x = torch.where(x == math.inf, largest if posinf is None else posinf, x)
    return torch.where(x == -math.inf, -largest if neginf is None else neginf, x)


def lerp(input, end, weight):
    return input + weight * (end - input)


def addcmul(input, tensor1, tensor2, *, value=1):
    return input + value * tensor1 * tensor2


def addcdiv(input, tensor1, tensor2, *, value=1):
    return input + value * (tensor1 / tensor2)


def sinc(input):
    x = math.pi * input
    return torch.where(input == 0, 1.0, torch.sin(x) / torch.where(input == 0, 1.0, x))


def bitwise_xor(input, other):
    if input.dtype != torch.bool:
        raise NotImplementedError("bitwise_xor of whole numbers")
    return input != other


def positive(input):
    return input


def float_power(input, exponent):
    return input**exponent


def is_floating_point(input):
    return input.dtype == torch.float32


def logspace(start, end, steps, base=10.0, *, dtype=None, device=None, requires_grad=False):
    step = (end - start) / (steps - 1) if steps > 1 else 0.0
    return torch.tensor([float(base ** (start + step * at)) for at in range(steps)])


# Other names of the same functions.
negative = torch.neg
absolute = torch.abs
arccos = torch.acos
arcsin = torch.asin
arctan = torch.atan
arctan2 = torch.atan2
greater = torch.gt
greater_equal = torch.ge
less = torch.lt
less_equal = torch.le
not_equal = torch.ne
fix = torch.trunc
sgn = torch.sign
vdot = torch.dot


def signbit(input):
    return input < 0


def copysign(input, other):
    return torch.where(other < 0, -input.abs(), input.abs()) if isinstance(other, torch.Tensor) else (
        input.abs() * math.copysign(1.0, other)
    )


def fmax(input, other):
    return torch.where(input != input, other, torch.where(other != other, input, torch.maximum(input, other)))


def fmin(input, other):
    return torch.where(input != input, other, torch.where(other != other, input, torch.minimum(input, other)))


def deg2rad(input):
    return input * (math.pi / 180)


def rad2deg(input):
    return input * (180 / math.pi)


def xlogy(input, other):
    product = input * (torch.log(other) if isinstance(other, torch.Tensor) else math.log(other))
    return torch.where(input == 0, torch.zeros_like(product), product)


def isneginf(input):
    return input == -math.inf


def isposinf(input):
    return input == math.inf


def ldexp(input, other):
    return input * 2.0**other


def logaddexp2(input, other):
    return torch.maximum(input, other) + torch.log2(1 + 2 ** -(input - other).abs())


def isclose(input, other, rtol=1e-05, atol=1e-08, equal_nan=False):
    return (input - other).abs() <= atol + rtol * other.abs()


def bitwise_and(input, other):
    return input & other


def bitwise_or(input, other):
    return input | other


def bitwise_not(input):
    return ~input


def rsub(input, other, *, alpha=1):
    return other - alpha * input


def conj(input):
    return input


resolve_conj = conj
resolve_neg = conj
real = conj


def is_complex(input):
    return False


is_conj = is_complex


def relu_(input):
    return F.relu(input, inplace=True)


def relu6_(input):
    return F.relu6(input, inplace=True)


def elu_(input, alpha=1.0):
    return F.elu(input, alpha, inplace=True)


def selu_(input):
    return F.selu(input, inplace=True)


def celu_(input, alpha=1.0):
    return F.celu(input, alpha, inplace=True)


def leaky_relu_(input, negative_slope=0.01):
    return F.leaky_relu(input, negative_slope, inplace=True)


def rrelu_(input, lower=1.0 / 8, upper=1.0 / 3, training=False):
    return F.rrelu(input, lower, upper, training, inplace=True)


def threshold_(input, threshold, value):
    return F.threshold(input, threshold, value, inplace=True)


def hardtanh_(input, min_val=-1.0, max_val=1.0):
    return F.hardtanh(input, min_val, max_val, inplace=True)


def gumbel_softmax(logits, tau=1, hard=False, eps=1e-10, dim=-1):
    noise = -torch.log(-torch.log(torch.rand_like(logits).clamp(1e-7, 1 - 1e-7)))
    soft = ((logits + noise) / tau).softmax(dim)
    if not hard:
        return soft
    index = soft.max(dim, keepdim=True)[1]
    return torch.zeros_like(logits).scatter(dim, index, 1.0) - soft.detach() + soft


# Images
