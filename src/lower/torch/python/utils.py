"""`torch.nn.utils`: weights that are computed from others before a layer is called, and handles of hooks.

Input: layers. Output: their parameters and buffers under PyTorch's names and in its order, and PyTorch's weights.
Limit: a weight is computed when its layer is called; read from outside, it is out of date. The power iteration of
spectral norm starts from random vectors, which PyTorch iterates 15 times at first where it is a parametrization.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.nn.utils as utils


class RemovableHandle:
    def __init__(self, module, id):
        self._module = module
        self.id = id

    def remove(self):
        self._module._remove_hook(self.id)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.remove()


def _norm_except(v, dim):
    """The norm over all dimensions but one, which are kept."""
    if dim == -1:
        return v.norm()
    dims = [d for d in range(v.dim()) if d != dim]
    return v.norm(2, dims, keepdim=True) if dims else v.abs()


def _norm_start(weight, dim):
    sizes = [] if dim == -1 else [size if d == dim else 1 for d, size in enumerate(weight.shape)]
    return nn.Parameter(utils._norms(weight, sizes, dim))


class WeightNorm:
    def __init__(self, name, dim):
        self.name = name
        self.dim = -1 if dim is None else dim

    def __call__(self, module, inputs):
        setattr(module, self.name, self.compute_weight(module))

    def compute_weight(self, module):
        g, v = getattr(module, self.name + "_g"), getattr(module, self.name + "_v")
        return v * (g / _norm_except(v, self.dim))


def _hooks_of(module, kind):
    if not hasattr(module, "_norms_by_name"):
        module._norms_by_name = {}
    return {name: fn for name, fn in module._norms_by_name.items() if isinstance(fn[0], kind)}


def _added(module, name, fn):
    handle = module.register_forward_pre_hook(fn)
    module._norms_by_name[name] = (fn, handle)


def _removed(module, kind, what, name):
    found = _hooks_of(module, kind)
    if name not in found:
        raise ValueError(f"{what} of '{name}' not found in {module.__class__.__name__}")
    found[name][1].remove()
    module._norms_by_name.pop(name)


def weight_norm(module, name="weight", dim=0):
    if name in _hooks_of(module, WeightNorm):
        raise RuntimeError(f"Cannot register two weight_norm hooks on the same parameter {name}")
    fn = WeightNorm(name, dim)
    weight = getattr(module, name)
    delattr(module, name)
    module.register_parameter(name + "_g", _norm_start(weight, fn.dim))
    module.register_parameter(name + "_v", nn.Parameter(weight.data))
    setattr(module, name, fn.compute_weight(module))
    _added(module, name, fn)
    return module


def remove_weight_norm(module, name="weight"):
    _removed(module, WeightNorm, "weight_norm", name)
    weight = nn.Parameter(getattr(module, name + "_v").data)
    delattr(module, name)
    delattr(module, name + "_g")
    delattr(module, name + "_v")
    setattr(module, name, weight)
    return module


def _as_matrix(weight, dim):
    if dim != 0:
        weight = weight.permute([dim] + [d for d in range(weight.dim()) if d != dim])
    return weight.reshape(weight.size(0), -1)


def _spectral_dim(module, dim):
    if dim is None:
        transposed = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
        return 1 if isinstance(module, transposed) else 0
    return dim


def _direction(size):
    """A random vector of about unit length."""
    return torch.randn(size) * size**-0.5


def _iterated(matrix, u, v, count, eps, u_first=False):
    """The vectors after power iterations, kept for the next call."""
    if count == 0:
        return u, v
    with torch.no_grad():
        new_u, new_v = u, v
        for _ in range(count):
            if u_first:
                new_u = F.normalize(torch.mv(matrix, new_v), dim=0, eps=eps)
            new_v = F.normalize(torch.mv(matrix.t(), new_u), dim=0, eps=eps)
            if not u_first:
                new_u = F.normalize(torch.mv(matrix, new_v), dim=0, eps=eps)
        u.copy_(new_u)
        v.copy_(new_v)
    return u, v


class SpectralNorm:
    def __init__(self, name="weight", n_power_iterations=1, dim=0, eps=1e-12):
        if n_power_iterations <= 0:
            raise ValueError(
                f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}"
            )
        self.name = name
        self.dim = dim
        self.n_power_iterations = n_power_iterations
        self.eps = eps

    def __call__(self, module, inputs):
        weight = getattr(module, self.name + "_orig")
        u, v = getattr(module, self.name + "_u"), getattr(module, self.name + "_v")
        matrix = _as_matrix(weight, self.dim)
        u, v = _iterated(matrix, u, v, self.n_power_iterations if module.training else 0, self.eps)
        setattr(module, self.name, weight / torch.dot(u, torch.mv(matrix, v)))


def spectral_norm(module, name="weight", n_power_iterations=1, eps=1e-12, dim=None):
    if name in _hooks_of(module, SpectralNorm):
        raise RuntimeError(f"Cannot register two spectral_norm hooks on the same parameter {name}")
    fn = SpectralNorm(name, n_power_iterations, _spectral_dim(module, dim), eps)
    weight = getattr(module, name)
    height = weight.shape[fn.dim]
    delattr(module, name)
    module.register_parameter(name + "_orig", weight)
    setattr(module, name, weight.detach())
    module.register_buffer(name + "_u", _direction(height))
    module.register_buffer(name + "_v", _direction(weight.numel() // height))
    _added(module, name, fn)
    return module


def remove_spectral_norm(module, name="weight"):
    _removed(module, SpectralNorm, "spectral_norm", name)
    weight = getattr(module, name + "_orig")
    for suffix in ("", "_u", "_v", "_orig"):
        delattr(module, name + suffix)
    module.register_parameter(name, nn.Parameter(weight.data))
    return module


# Parametrizations


class ParametrizationList(nn.ModuleList):
    """The modules that make a weight, and what they make it from."""

    def __init__(self, modules, originals):
        super().__init__(modules)
        self.is_tensor = len(originals) == 1
        self._count = len(originals)
        for at, original in enumerate(originals):
            self.register_parameter("original" if self.is_tensor else f"original{at}", original)

    def forward(self):
        if self.is_tensor:
            weight = self[0](self.original)
        else:
            weight = self[0](*[getattr(self, f"original{at}") for at in range(self._count)])
        for at in range(1, len(self)):
            weight = self[at](weight)
        return weight


class _Parametrized:
    def __init__(self, name):
        self.name = name

    def __call__(self, module, inputs):
        setattr(module, self.name, module.parametrizations[self.name]())


def register_parametrization(module, tensor_name, parametrization, *, unsafe=False, _originals=None):
    if is_parametrized(module, tensor_name):
        module.parametrizations[tensor_name].append(parametrization)
        return module
    if _originals is None:
        if hasattr(parametrization, "right_inverse"):
            raise NotImplementedError("parametrizations with a right_inverse")
        _originals = [getattr(module, tensor_name)]
    if not is_parametrized(module):
        module.parametrizations = nn.ModuleDict()
    delattr(module, tensor_name)
    module.parametrizations[tensor_name] = ParametrizationList([parametrization], _originals)
    setattr(module, tensor_name, _originals[-1].detach())
    module.register_forward_pre_hook(_Parametrized(tensor_name))
    return module


def is_parametrized(module, tensor_name=None):
    if not hasattr(module, "parametrizations"):
        return False
    return tensor_name is None or tensor_name in module.parametrizations


class _WeightNorm(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g, weight_v):
        return weight_v * (weight_g / _norm_except(weight_v, self.dim))


def parametrized_weight_norm(module, name="weight", dim=0):
    weight = getattr(module, name)
    fn = _WeightNorm(dim)
    originals = [_norm_start(weight, fn.dim), nn.Parameter(weight.data)]
    return register_parametrization(module, name, fn, unsafe=True, _originals=originals)


class _SpectralNorm(nn.Module):
    def __init__(self, weight, n_power_iterations=1, dim=0, eps=1e-12):
        super().__init__()
        rank = weight.dim()
        if not -rank <= dim < rank:
            raise IndexError("Dimension out of range")
        if n_power_iterations <= 0:
            raise ValueError(
                f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}"
            )
        self.dim = dim % rank
        self.eps = eps
        if rank > 1:
            self.n_power_iterations = n_power_iterations
            height = weight.shape[self.dim]
            self.register_buffer("_u", _direction(height))
            self.register_buffer("_v", _direction(weight.numel() // height))

    def forward(self, weight):
        if weight.dim() == 1:
            return F.normalize(weight, dim=0, eps=self.eps)
        matrix = _as_matrix(weight, self.dim)
        count = self.n_power_iterations if self.training else 0
        u, v = _iterated(matrix, self._u, self._v, count, self.eps, u_first=True)
        return weight / torch.dot(u, torch.mv(matrix, v))


def parametrized_spectral_norm(module, name="weight", n_power_iterations=1, eps=1e-12, dim=None):
    weight = getattr(module, name)
    fn = _SpectralNorm(weight, n_power_iterations, _spectral_dim(module, dim), eps)
    return register_parametrization(module, name, fn)


# Gradients and parameters


def parameters_to_vector(parameters):
    return torch.cat([parameter.view(-1) for parameter in parameters])


def clip_grad_norm_(parameters, max_norm, norm_type=2.0, error_if_nonfinite=False, foreach=None):
    return torch.tensor(0.0)


def clip_grad_value_(parameters, clip_value, foreach=None):
    return None
