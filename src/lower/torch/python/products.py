"""Functions of torch and torch.nn.functional that reduce and multiply. The file goes on where functions.py ends.

Input: tensors, as in PyTorch 2.13. Output: PyTorch's numbers, by the formulas in PyTorch's documentation.
Limit: complex numbers and `out=` are left out.
"""
# Statistics and products


def var_mean(input, dim=None, unbiased=True, keepdim=False, *, correction=None):
    correction = correction if correction is not None else int(unbiased)
    return torch.var(input, dim, correction=correction, keepdim=keepdim), torch.mean(input, dim, keepdim)


def std_mean(input, dim=None, unbiased=True, keepdim=False, *, correction=None):
    correction = correction if correction is not None else int(unbiased)
    return torch.std(input, dim, correction=correction, keepdim=keepdim), torch.mean(input, dim, keepdim)


def outer(input, vec2):
    if input.dim() != 1 or vec2.dim() != 1:
        raise RuntimeError(f"outer: Expected 1-D argument, got {input.dim()}-D and {vec2.dim()}-D")
    return input.unsqueeze(1) * vec2


ger = outer


def inner(input, other):
    if input.dim() == 0 or other.dim() == 0:
        return input * other
    if other.dim() <= 2:
        return torch.matmul(input, other.t())
    raise NotImplementedError("inner of tensors of more than two dimensions")


def tensordot(a, b, dims=2, out=None):
    if isinstance(dims, int):
        left = list(range(a.dim() - dims, a.dim()))
        right = list(range(dims))
    else:
        left, right = [[d] if isinstance(d, int) else list(d) for d in dims]
    left = [_axis(d, a.dim()) for d in left]
    right = [_axis(d, b.dim()) for d in right]
    keep_left = [d for d in range(a.dim()) if d not in left]
    keep_right = [d for d in range(b.dim()) if d not in right]
    shape = [a.shape[d] for d in keep_left] + [b.shape[d] for d in keep_right]
    inner = 1
    for d in right:
        inner = inner * b.shape[d]
    x = a.permute(keep_left + left).reshape(-1, inner)
    y = b.permute(right + keep_right).reshape(inner, -1)
    return torch.matmul(x, y).reshape(shape)


def nansum(input, dim=None, keepdim=False, *, dtype=None):
    clean = torch.where(input != input, torch.zeros_like(input), input)
    return clean.sum() if dim is None else clean.sum(dim, keepdim)


def nanmean(input, dim=None, keepdim=False, *, dtype=None):
    present = (input == input).float()
    count = present.sum() if dim is None else present.sum(dim, keepdim)
    return nansum(input, dim, keepdim) / count


def logcumsumexp(input, dim):
    largest = input.amax(dim, True).detach()
    return torch.log(torch.cumsum(torch.exp(input - largest), dim)) + largest


def trapezoid(y, x=None, *, dx=1, dim=-1):
    size = y.size(dim)
    means = (y.narrow(dim, 1, size - 1) + y.narrow(dim, 0, size - 1)) / 2
    if x is None:
        return means.sum(dim) * dx
    return (means * diff(x, dim=dim if x.dim() == y.dim() else -1)).sum(dim)


trapz = trapezoid


def chain_matmul(*matrices):
    result = matrices[0]
    for matrix in matrices[1:]:
        result = torch.mm(result, matrix)
    return result


def kron(input, other):
    rank = max(input.dim(), other.dim())
    a = input.reshape([1] * (rank - input.dim()) + list(input.shape))
    b = other.reshape([1] * (rank - other.dim()) + list(other.shape))
    sizes = [p * q for p, q in zip(a.shape, b.shape)]
    for d in range(rank):
        a, b = a.unsqueeze(2 * d + 1), b.unsqueeze(2 * d)
    return (a * b).reshape(sizes)


def cross(input, other, dim=None):
    if dim is None:
        found = [d for d in range(input.dim()) if input.size(d) == 3]
        if not found:
            raise RuntimeError("no dimension of size 3 in input")
        dim = found[0]
    input, other = broadcast_tensors(input, other)
    if input.size(dim) != 3:
        raise RuntimeError(f"linalg.cross: inputs dimension {dim} must have length 3. Got {input.size(dim)}")
    a, b = input.unbind(dim), other.unbind(dim)
    return torch.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]], dim)


def linalg_cross(input, other, *, dim=-1):
    return cross(input, other, dim)


def linalg_multi_dot(tensors):
    return chain_matmul(*tensors)


def linalg_vecdot(x, y, *, dim=-1):
    return (x * y).sum(dim)


def isin(elements, test_elements, *, assume_unique=False, invert=False):
    tests = torch.tensor(test_elements) if not isinstance(test_elements, torch.Tensor) else test_elements
    found = (elements.unsqueeze(-1) == tests.flatten()).any(-1)
    return ~found if invert else found


def addmv(input, mat, vec, *, beta=1, alpha=1):
    return beta * input + alpha * torch.mv(mat, vec)


def addbmm(input, batch1, batch2, *, beta=1, alpha=1):
    return beta * input + alpha * torch.bmm(batch1, batch2).sum(0)


def cdist(x1, x2, p=2.0, compute_mode=None):
    return (x1.unsqueeze(-2) - x2.unsqueeze(-3)).norm(p, -1)


def renorm(input, p, dim, maxnorm):
    dims = [at for at in range(input.dim()) if at != dim % input.dim()]
    norm = torch.norm(input, p, dims, True)
    return input * torch.where(norm > maxnorm, maxnorm / (norm + 1e-7), torch.ones_like(norm))


def dist(input, other, p=2):
    return (input - other).norm(p)


def cosine_similarity(x1, x2, dim=1, eps=1e-8):
    x1, x2 = broadcast_tensors(x1, x2)
    left = x1 / x1.norm(2, dim, keepdim=True).clamp_min(eps)
    right = x2 / x2.norm(2, dim, keepdim=True).clamp_min(eps)
    return (left * right).sum(dim)


def pairwise_distance(x1, x2, p=2.0, eps=1e-6, keepdim=False):
    return (x1 - x2 + eps).norm(p, -1, keepdim)


def linalg_vector_norm(x, ord=2, dim=None, keepdim=False, *, dtype=None, out=None):
    return torch.norm(x, ord, dim, keepdim)


def linalg_norm(A, ord=None, dim=None, keepdim=False, *, dtype=None, out=None):
    matrix = (isinstance(dim, (list, tuple)) and len(dim) == 2) or (dim is None and A.dim() == 2)
    if ord is not None and matrix and ord != "fro":
        raise NotImplementedError("norms of matrices but Frobenius'")
    return torch.norm(A, 2 if ord is None or ord == "fro" else ord, dim, keepdim)


def linalg_matrix_norm(A, ord="fro", dim=(-2, -1), keepdim=False, *, dtype=None, out=None):
    return linalg_norm(A, ord, dim, keepdim)


def linalg_matmul(input, other, *, out=None):
    return torch.matmul(input, other)


def affine_grid(theta, size, align_corners=None):
    if len(size) != 4:
        raise NotImplementedError("affine_grid of volumes")
    count, _, height, width = size
    if theta.dim() != 3 or theta.shape[0] != count or theta.shape[1:] != (2, 3):
        raise ValueError(f"Expected a batch of 2D affine matrices of shape Nx2x3, got {tuple(theta.shape)}")
    x, y = torch.linspace(-1, 1, width), torch.linspace(-1, 1, height)
    if not align_corners:
        x, y = x * ((width - 1) / width), y * ((height - 1) / height)
    y, x = meshgrid(y, x)
    base = torch.stack([x, y, torch.ones(height, width)], dim=-1).reshape(1, height * width, 3)
    return torch.matmul(base, theta.transpose(1, 2)).reshape(count, height, width, 2)


def _unpool(input, indices, sizes):
    lead = list(input.shape[: input.dim() - len(sizes)])
    flat = 1
    for size in sizes:
        flat = flat * size
    start = len(lead)
    empty = torch.zeros(lead + [flat])
    return empty.scatter(start, indices.flatten(start), input.flatten(start)).reshape(lead + list(sizes))


def _unpooled(input, kernel_size, stride, padding, output_size, rank):
    def pair(value):
        return (value,) * rank if isinstance(value, int) else tuple(value)

    kernel, padding = pair(kernel_size), pair(padding)
    stride = kernel if stride is None else pair(stride)
    sizes = input.shape[-rank:]
    usual = tuple((sizes[d] - 1) * stride[d] - 2 * padding[d] + kernel[d] for d in range(rank))
    if output_size is None:
        return usual
    wanted = tuple(output_size)
    if len(wanted) == rank + 2:
        wanted = wanted[2:]
    if len(wanted) != rank:
        raise ValueError(f"output_size must have {rank} or {rank + 2} elements, got {len(wanted)}")
    for size, expected, step in zip(wanted, usual, stride):
        if not expected - step < size < expected + step:
            raise ValueError(f"output_size {wanted} is not near enough to {usual}")
    return wanted


def max_unpool1d(input, indices, kernel_size, stride=None, padding=0, output_size=None):
    return _unpool(input, indices, _unpooled(input, kernel_size, stride, padding, output_size, 1))


def max_unpool2d(input, indices, kernel_size, stride=None, padding=0, output_size=None):
    return _unpool(input, indices, _unpooled(input, kernel_size, stride, padding, output_size, 2))


def max_unpool3d(input, indices, kernel_size, stride=None, padding=0, output_size=None):
    return _unpool(input, indices, _unpooled(input, kernel_size, stride, padding, output_size, 3))


def max_pool1d_with_indices(*args, **kwargs):
    return F.max_pool1d(*args, **{**kwargs, "return_indices": True})


def max_pool2d_with_indices(*args, **kwargs):
    return F.max_pool2d(*args, **{**kwargs, "return_indices": True})


def max_pool3d_with_indices(*args, **kwargs):
    return F.max_pool3d(*args, **{**kwargs, "return_indices": True})


def adaptive_max_pool1d_with_indices(input, output_size, return_indices=False):
    return F.adaptive_max_pool1d(input, output_size, True)


def adaptive_max_pool2d_with_indices(input, output_size, return_indices=False):
    return F.adaptive_max_pool2d(input, output_size, True)


def adaptive_max_pool3d_with_indices(input, output_size, return_indices=False):
    return F.adaptive_max_pool3d(input, output_size, True)


def fractional_max_pool2d_with_indices(*args, **kwargs):
    return F.fractional_max_pool2d(*args, **{**kwargs, "return_indices": True})


def fractional_max_pool3d_with_indices(*args, **kwargs):
    return F.fractional_max_pool3d(*args, **{**kwargs, "return_indices": True})


def upsample_nearest(input, size=None, scale_factor=None):
    return F.interpolate(input, size, scale_factor, mode="nearest")


def upsample_bilinear(input, size=None, scale_factor=None):
    return F.interpolate(input, size, scale_factor, mode="bilinear", align_corners=True)


def embedding_bag(input, weight, offsets=None, max_norm=None, norm_type=2, scale_grad_by_freq=False, mode="mean"):
    if offsets is not None or max_norm is not None or input.dim() != 2:
        raise NotImplementedError("embedding_bag with offsets or max_norm")
    rows = F.embedding(input, weight)
    if mode == "max":
        return rows.amax(1)
    return rows.sum(1) if mode == "sum" else rows.mean(1)
