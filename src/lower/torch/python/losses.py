"""Losses of torch.nn and torch.nn.functional, which networks compute beside their output, in the Python that the
front-end reads.

Input: tensors, as in PyTorch 2.13. Output: PyTorch's numbers, by the formulas in PyTorch's documentation.
Limit: weights of classes and of elements, `ignore_index` other than what no class has, and the arguments
`size_average` and `reduce`, which PyTorch gave up, are left out.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F


def _reduced(loss, reduction):
    if reduction == "mean":
        return loss.mean()
    if reduction == "sum":
        return loss.sum()
    if reduction == "none":
        return loss
    raise ValueError(f"{reduction} is not a valid value for reduction")


def mse_loss(input, target, *, reduction="mean"):
    return _reduced((input - target) ** 2, reduction)


def l1_loss(input, target, *, reduction="mean"):
    return _reduced((input - target).abs(), reduction)


def smooth_l1_loss(input, target, *, reduction="mean", beta=1.0):
    if beta == 0.0:
        return l1_loss(input, target, reduction=reduction)
    gap = (input - target).abs()
    return _reduced(torch.where(gap < beta, 0.5 * gap * gap / beta, gap - 0.5 * beta), reduction)


def huber_loss(input, target, *, reduction="mean", delta=1.0):
    gap = (input - target).abs()
    return _reduced(torch.where(gap <= delta, 0.5 * gap * gap, delta * (gap - 0.5 * delta)), reduction)


def kl_div(input, target, *, reduction="mean", log_target=False):
    if log_target:
        loss = target.exp() * (target - input)
    else:
        # Where the target is 0 its logarithm counts as 0.
        loss = torch.xlogy(target, target) - target * input
    if reduction == "batchmean":
        return loss.sum() / input.size(0)
    return _reduced(loss, reduction)


def nll_loss(input, target, *, reduction="mean"):
    dim = 1 if input.dim() > 1 else 0
    return _reduced(-input.gather(dim, target.unsqueeze(dim)).squeeze(dim), reduction)


def cross_entropy(input, target, *, reduction="mean", label_smoothing=0.0):
    dim = 1 if input.dim() > 1 else 0
    log_probability = F.log_softmax(input, dim)
    even = -log_probability.mean(dim) * label_smoothing
    if target.is_floating_point():
        loss = -(log_probability * target).sum(dim) * (1.0 - label_smoothing) + even
        if reduction == "mean":
            return loss.sum() * input.size(dim) / input.numel()
        return _reduced(loss, reduction)
    return _reduced(nll_loss(log_probability, target, reduction="none") * (1.0 - label_smoothing) + even, reduction)


def binary_cross_entropy(input, target, *, reduction="mean"):
    if input.shape != target.shape:
        raise ValueError(
            f"Using a target size ({target.size()}) that is different to the input size ({input.size()}) is "
            "deprecated. Please ensure they have the same size."
        )
    # PyTorch keeps the logarithms above -100.
    loss = (target - 1) * (-input).log1p().clamp(min=-100) - target * input.log().clamp(min=-100)
    return _reduced(loss, reduction)


def binary_cross_entropy_with_logits(input, target, *, reduction="mean"):
    if input.shape != target.shape:
        raise ValueError(f"Target size ({target.size()}) must be the same as input size ({input.size()})")
    return _reduced((1 - target) * input - F.logsigmoid(input), reduction)


class _Loss(nn.Module):
    def __init__(self, *, reduction="mean"):
        super().__init__()
        self.reduction = reduction


class MSELoss(_Loss):
    def forward(self, input, target):
        return mse_loss(input, target, reduction=self.reduction)


class L1Loss(_Loss):
    def forward(self, input, target):
        return l1_loss(input, target, reduction=self.reduction)


class BCELoss(_Loss):
    def forward(self, input, target):
        return binary_cross_entropy(input, target, reduction=self.reduction)


class BCEWithLogitsLoss(_Loss):
    def forward(self, input, target):
        return binary_cross_entropy_with_logits(input, target, reduction=self.reduction)


class NLLLoss(_Loss):
    def forward(self, input, target):
        return nll_loss(input, target, reduction=self.reduction)


class SmoothL1Loss(_Loss):
    def __init__(self, *, reduction="mean", beta=1.0):
        super().__init__(reduction=reduction)
        self.beta = beta

    def forward(self, input, target):
        return smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


class HuberLoss(_Loss):
    def __init__(self, reduction="mean", delta=1.0):
        super().__init__(reduction=reduction)
        self.delta = delta

    def forward(self, input, target):
        return huber_loss(input, target, reduction=self.reduction, delta=self.delta)


class KLDivLoss(_Loss):
    def __init__(self, *, reduction="mean", log_target=False):
        super().__init__(reduction=reduction)
        self.log_target = log_target

    def forward(self, input, target):
        return kl_div(input, target, reduction=self.reduction, log_target=self.log_target)


class CrossEntropyLoss(_Loss):
    def __init__(self, *, reduction="mean", label_smoothing=0.0):
        super().__init__(reduction=reduction)
        self.label_smoothing = label_smoothing

    def forward(self, input, target):
        return cross_entropy(input, target, reduction=self.reduction, label_smoothing=self.label_smoothing)
