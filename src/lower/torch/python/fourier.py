"""Discrete Fourier transforms and complex tensors, as pairs of real ones, in the Python that the front-end reads.

Input: real tensors of fixed sizes in the transformed dimensions. Output: torch.fft's numbers. A transform is a product
with the matrix of its sines and cosines, which libtorch does in O(n^2); for the sizes of images that is no slower.
Limit: what a network needs to mix its tokens; other operations on complex numbers are refused.
"""
import math

import torch


class _Complex:
    def __init__(self, real, imag):
        self.real = real
        self.imag = imag
        self.shape = real.shape

    def _each(self, function):
        return _Complex(function(self.real), function(self.imag))

    def __mul__(self, other):
        if isinstance(other, _Complex):
            real = self.real * other.real - self.imag * other.imag
            return _Complex(real, self.real * other.imag + self.imag * other.real)
        return _Complex(self.real * other, self.imag * other)

    __rmul__ = __mul__

    def __add__(self, other):
        if isinstance(other, _Complex):
            return _Complex(self.real + other.real, self.imag + other.imag)
        return _Complex(self.real + other, self.imag)

    __radd__ = __add__

    def __sub__(self, other):
        if isinstance(other, _Complex):
            return _Complex(self.real - other.real, self.imag - other.imag)
        return _Complex(self.real - other, self.imag)

    def __rsub__(self, other):
        return _Complex(other - self.real, -self.imag)

    def __neg__(self):
        return self._each(torch.neg)

    def __truediv__(self, other):
        if isinstance(other, _Complex):
            return self * other.conj() / (other.real * other.real + other.imag * other.imag)
        return _Complex(self.real / other, self.imag / other)

    def __getitem__(self, index):
        return self._each(lambda x: x[index])

    def abs(self):
        return torch.sqrt(self.real * self.real + self.imag * self.imag)

    def angle(self):
        return torch.atan2(self.imag, self.real)

    def conj(self):
        return _Complex(self.real, -self.imag)

    def size(self, dim=None):
        return self.real.size() if dim is None else self.real.size(dim)

    def dim(self):
        return self.real.dim()

    def reshape(self, *shape):
        return self._each(lambda x: x.reshape(*shape))

    def view(self, *shape):
        return self._each(lambda x: x.view(*shape))

    def permute(self, *dims):
        return self._each(lambda x: x.permute(*dims))

    def transpose(self, dim0, dim1):
        return self._each(lambda x: x.transpose(dim0, dim1))

    def unsqueeze(self, dim):
        return self._each(lambda x: x.unsqueeze(dim))

    def flatten(self, start_dim=0, end_dim=-1):
        return self._each(lambda x: x.flatten(start_dim, end_dim))

    def contiguous(self):
        return self


def complex(real, imag):
    return _Complex(real, imag)


def polar(abs, angle):
    return _Complex(abs * torch.cos(angle), abs * torch.sin(angle))


def view_as_complex(input):
    return _Complex(input[..., 0], input[..., 1])


def view_as_real(input):
    return torch.stack([input.real, input.imag], dim=-1)


def _parts(input):
    if isinstance(input, _Complex):
        return input.real, input.imag
    return input, None


def _scale(norm, size, inverse):
    if norm not in (None, "backward", "ortho", "forward"):
        raise RuntimeError(f"Invalid normalization mode: {norm}")
    if norm == "ortho":
        return 1 / math.sqrt(size)
    return 1 / size if (norm == "forward") != inverse else 1.0


def _matrices(rows, columns, size, inverse):
    """cos and sin of 2 pi j k / size, for j in rows and k in columns."""
    sign = 1 if inverse else -1
    angles = [[2 * math.pi * ((j * k) % size) / size for k in range(columns)] for j in range(rows)]
    cosines = [[math.cos(angle) for angle in row] for row in angles]
    sines = [[sign * math.sin(angle) for angle in row] for row in angles]
    return torch.tensor(cosines), torch.tensor(sines)


def _resized(x, size, dim):
    have = x.size(dim)
    if size == have:
        return x
    if size < have:
        return x.narrow(dim, 0, size)
    more = list(x.shape)
    more[dim] = size - have
    return torch.cat([x, torch.zeros(more)], dim)


def _transform(input, n, dim, norm, inverse):
    real, imag = _parts(input)
    size = real.size(dim) if n is None else n
    cosines, sines = _matrices(size, size, size, inverse)
    scale = _scale(norm, size, inverse)
    if scale != 1.0:
        cosines, sines = cosines * scale, sines * scale
    x = _resized(real, size, dim).transpose(dim, -1)
    a, b = torch.matmul(x, cosines), torch.matmul(x, sines)
    if imag is not None:
        y = _resized(imag, size, dim).transpose(dim, -1)
        a, b = a - torch.matmul(y, sines), b + torch.matmul(y, cosines)
    return _Complex(a.transpose(dim, -1), b.transpose(dim, -1))


def fft(input, n=None, dim=-1, norm=None):
    return _transform(input, n, dim, norm, False)


def ifft(input, n=None, dim=-1, norm=None):
    return _transform(input, n, dim, norm, True)


def fftn(input, s=None, dim=None, norm=None):
    dim = tuple(range(input.dim())) if dim is None else dim
    for at, d in enumerate(dim):
        input = fft(input, None if s is None else s[at], d, norm)
    return input


def ifftn(input, s=None, dim=None, norm=None):
    dim = tuple(range(input.dim())) if dim is None else dim
    for at, d in enumerate(dim):
        input = ifft(input, None if s is None else s[at], d, norm)
    return input


def fft2(input, s=None, dim=(-2, -1), norm=None):
    return fftn(input, s, dim, norm)


def ifft2(input, s=None, dim=(-2, -1), norm=None):
    return ifftn(input, s, dim, norm)


def rfft(input, n=None, dim=-1, norm=None):
    if isinstance(input, _Complex):
        raise RuntimeError("rfft expects a real input tensor")
    full = fft(input, n, dim, norm)
    half = full.real.size(dim) // 2 + 1
    return _Complex(full.real.narrow(dim, 0, half), full.imag.narrow(dim, 0, half))


def rfft2(input, s=None, dim=(-2, -1), norm=None):
    half = rfft(input, None if s is None else s[-1], dim[-1], norm)
    return fft(half, None if s is None else s[0], dim[0], norm)


def irfft(input, n=None, dim=-1, norm=None):
    real, imag = _parts(input)
    size = 2 * (real.size(dim) - 1) if n is None else n
    half = size // 2 + 1
    real, imag = _resized(real, half, dim).transpose(dim, -1), _resized(imag, half, dim).transpose(dim, -1)
    cosines, sines = _matrices(half, size, size, True)
    # The other half is the mirror image: all frequencies but the first and an even size's last count twice.
    twice = [1.0 if k == 0 or 2 * k == size else 2.0 for k in range(half)]
    weights = torch.tensor(twice).reshape(half, 1) * _scale(norm, size, True)
    result = torch.matmul(real, cosines * weights) - torch.matmul(imag, sines * weights)
    return result.transpose(dim, -1)


def irfft2(input, s=None, dim=(-2, -1), norm=None):
    columns = ifft(input, None if s is None else s[0], dim[0], norm)
    return irfft(columns, None if s is None else s[-1], dim[-1], norm)


def fftshift(input, dim=None):
    dim = tuple(range(input.dim())) if dim is None else ((dim,) if isinstance(dim, int) else dim)
    shifts = [input.size(d) // 2 for d in dim]
    if isinstance(input, _Complex):
        return input._each(lambda x: torch.roll(x, shifts, dim))
    return torch.roll(input, shifts, dim)


def ifftshift(input, dim=None):
    dim = tuple(range(input.dim())) if dim is None else ((dim,) if isinstance(dim, int) else dim)
    shifts = [-(input.size(d) // 2) for d in dim]
    if isinstance(input, _Complex):
        return input._each(lambda x: torch.roll(x, shifts, dim))
    return torch.roll(input, shifts, dim)
