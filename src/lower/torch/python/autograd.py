"""`torch.autograd.Function`, `torch.utils.checkpoint` and `torch.no_grad` as a decorator, in the Python that the
front-end reads.

Input: functions with a backward pass of their own. Output: the numbers of `forward`, and the gradients of `backward`:
the result does not follow the inputs through `forward`, but through a term that is zero and has those gradients. They
follow https://docs.pytorch.org/docs/stable/autograd.html. Limit: `backward` is read when `apply` is called, so a
mistake in it is one of the forward pass; it must be linear in its argument element by element, with at most a sum
behind.
"""
import functools

import torch
import torch.autograd as autograd


class FunctionCtx:
    def __init__(self, inputs):
        self.saved_tensors = self.saved_variables = ()
        self.needs_input_grad = tuple(autograd._is_float(value) for value in inputs)
        self._without = ()

    def save_for_backward(self, *tensors):
        self.saved_tensors = self.saved_variables = tensors

    def save_for_forward(self, *tensors):
        pass

    def mark_dirty(self, *tensors):
        pass

    def mark_non_differentiable(self, *tensors):
        self._without = tensors

    def set_materialize_grads(self, value):
        pass


class Function:
    @staticmethod
    def forward(*args, **kwargs):
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def backward(ctx, *grads):
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom autograd.Function to use it with "
            "backward mode AD."
        )

    @classmethod
    def apply(cls, *args):
        ctx = FunctionCtx(args)
        if hasattr(cls, "setup_context"):
            outputs = cls.forward(*args)
            cls.setup_context(ctx, args, outputs)
        else:
            outputs = cls.forward(ctx, *args)
        if not any(ctx.needs_input_grad):
            return outputs
        single = not isinstance(outputs, tuple)
        results = [_detached(value) for value in ((outputs,) if single else outputs)]
        followed = [
            index
            for index, value in enumerate(results)
            if autograd._is_float(value) and not any(value is other for other in ctx._without)
        ]
        for index in followed:
            results[index] = _followed(cls, ctx, args, results, index)
        return results[0] if single else tuple(results)


def _detached(value):
    return value.detach() if isinstance(value, torch.Tensor) else value


def _followed(cls, ctx, args, results, index):
    """A result with the gradients that `backward` gives where the other results have none."""
    result = results[index]
    seed = autograd._seed(result)
    grads = [
        seed if at == index else torch.zeros_like(value) if autograd._is_float(value) else None
        for at, value in enumerate(results)
    ]
    found = cls.vjp(ctx, *grads) if hasattr(cls, "vjp") else cls.backward(ctx, *grads)
    if not isinstance(found, (tuple, list)):
        found = (found,)
    if len(found) < len(args) or any(grad is not None for grad in found[len(args) :]):
        raise RuntimeError(
            f"function {cls.__name__}Backward returned an incorrect number of gradients (expected {len(args)}, got "
            f"{len(found)})"
        )
    for value, needed, grad in zip(args, ctx.needs_input_grad, found):
        if not needed or grad is None:
            continue
        factor, summed = autograd._factor(cls.__name__, grad, seed)
        if factor is None:
            continue
        if summed:
            if grad.shape != value.shape:
                raise RuntimeError(
                    f"Function {cls.__name__}Backward returned an invalid gradient: got {list(grad.shape)} but "
                    f"expected shape compatible with {list(value.shape)}"
                )
            value = value.reshape([1 if d in summed else size for d, size in enumerate(result.shape)])
        if torch.broadcast_shapes(value.shape, result.shape) != result.shape:
            autograd._refuse(cls.__name__)
        result = result + (value - value.detach()) * factor.detach()
    return result


def once_differentiable(function):
    return function


def custom_fwd(function=None, **options):
    return (lambda function: function) if function is None else function


def custom_bwd(function=None, **options):
    return (lambda function: function) if function is None else function


def checkpoint(function, *args, use_reentrant=None, context_fn=None, determinism_check=None, debug=None, **kwargs):
    kwargs.pop("preserve_rng_state", None)
    kwargs.pop("early_stop", None)
    return function(*args, **kwargs)


def checkpoint_sequential(functions, segments, input, use_reentrant=None, **kwargs):
    for function in functions.children() if isinstance(functions, torch.nn.Sequential) else functions:
        input = function(input)
    return input


def managed(manager, function):
    @functools.wraps(function)
    def inner(*args, **kwargs):
        with manager:
            return function(*args, **kwargs)

    return inner
