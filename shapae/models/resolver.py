"""Resolution of a model: which of its parts reconstruct, encode and decode, by evidence from a few rows.

In this order: what the user gave; a part or an output of the usual name, if what it returns is consistent; otherwise a
refusal that lists all candidates. The evidence is

* decode(encode(rows)) = reconstruct(rows), or that the decoder is called with encode(rows) in reconstruct(rows);
* that neither a reconstruction nor latents are the rows themselves;
* that several candidates which differ are an ambiguity, not a choice.
"""

from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import Any

from torch import Tensor, nn

from shapae.errors import ModelError
from shapae.models import outputs
from shapae.models.accessors import FORWARD, Chain, FirstHalf, FirstLayers, Part, Within, find_parts, has_forward
from shapae.models.refusals import refuse, refuse_decoder
from shapae.models.trials import Candidate, Trials, same

# Usual names of methods and modules, in the order in which they are tried.
ENCODERS = ("encode", "encoder", "enc", "encoder_net", "encoder_layers", "encoding")
DECODERS = ("decode", "decoder", "dec", "decoder_net", "decoder_layers", "decoding", "generator")

# Number of modules whose outputs are tried as latents.
MOST_MODULES = 100


@dataclass(frozen=True)
class Autoencoding:
    """decode(encode(rows)), for a model without a way of its own to reconstruct rows.

    Attributes:
        encode: Accessor of the latents.
        decode: Accessor of the decoder.
    """

    encode: Any
    decode: Any

    def __call__(self, model: Any, rows: Tensor) -> Any:
        """Encode and decode."""
        return self.decode(model, self.encode(model, rows))

    def __str__(self) -> str:
        return f"{self.encode} -> {self.decode}"

    def code(self, x: str = "x") -> str:
        """Return the expression."""
        return str(self.decode.code(self.encode.code(x)))


class Resolver:
    """The parts of a model, found by evidence. A property raises a ModelError if its part is not clear.

    Args:
        trials: The model, on a few rows.
        given: The accessors that the user gave, by the names of the arguments of ``Autoencoder``; None for others.
    """

    def __init__(self, trials: Trials, given: dict[str, Any]) -> None:
        self.trials, self.given = trials, given
        self.model = trials.runner.model

    @cached_property
    def whole(self) -> Any:
        """Accessor of the method that reconstructs, or may do so; None if there is none."""
        if self.given["reconstruct"]:
            return self.given["reconstruct"]
        usual = [part for part in find_parts(self.model, ["reconstruct"]) if "." not in part.path]
        roots = [*usual, *([FORWARD] if has_forward(self.model) else [])]
        return next((root for root in roots if self._tables_of(root)), roots[-1] if roots else None)

    @cached_property
    def decoders(self) -> list[Any]:
        """Accessors that may be the decoder."""
        given = [self.given["decode"]] if self.given["decode"] else []
        return [*given, *find_parts(self.model, DECODERS)]

    @cached_property
    def reconstruct(self) -> Candidate:
        """The reconstruction."""
        tables = self._tables_of(self.whole) if self.whole else []
        if self.decoders and not self.given["reconstruct"]:
            tables = [each for each in tables if not _in(each, self._encoded)]
        if len(tables) > 1:
            found = [table for table in tables if self._decoding([table])]
            codes = [latents for table in found for latents in self._decoding([table])]
            # The other tables must be accounted for: a decoder may be followed by a last step.
            tables = found if all(_in(table, [*found, *codes]) for table in tables) else tables
        if len(tables) == 1:
            return tables[0]
        decoded = self._autoencoding
        if decoded and not tables and (not self.whole or _in(decoded[0], self.trials.candidates(self.whole))):
            return decoded[1]
        reason = (
            f"{'several tensors have' if tables else 'no tensor but the rows themselves has'} the shape of the rows"
        )
        alike = tables or [each for each in self._all([self.whole]) if each.tensor[0].numel() == self.trials.width]
        return refuse("reconstruct", self.trials, reason, [*alike, *decoded[1:]], [self.whole])

    @cached_property
    def encode(self) -> Candidate:
        """The latents."""
        reconstruct = or_none(self, "reconstruct")
        if reconstruct and isinstance(reconstruct.accessor, Autoencoding):
            return self._autoencoding[0]
        groups = [self._encoded] if self.given["encode"] else [self._encoded, self._derived, self._beside]
        found = self._decoding([reconstruct] if reconstruct else [], groups)
        if len(_distinct(found)) != 1:  # of several, the one that the decoder is called with
            tried = found or (sum(groups, []) if self.given["encode"] else [*sum(groups, []), *self._within])
            found = [each for each in tried if any(same(each.flat, received) for received in self._received)] or found
        found = _distinct([each for each in found if each.tensor.any()])  # codes of zeros are alike
        if len(found) == 1:
            return found[0]
        if found and not self.given["encode"]:
            return refuse("encode", self.trials, "several are decoded to the reconstruction", found, [self.whole])
        clear = _clear(self._encoded) if self._is_given or self._encoded else _named(self._beside)
        if clear and (self._is_given or not (self.decoders or self._is_doubtful(clear))):
            return clear
        if self.given["encode"]:
            free = or_none(Resolver(self.trials, self.given | {"encode": None}), "encode")
            reason = f"{self.given['encode']}, which was given, returns none"
            return refuse("encode", self.trials, reason, [free] if free else [], [self.given["encode"]])
        listed, encoders = [*sum(groups, []), *self._layers], find_parts(self.model, ENCODERS)
        reason = "none has the shape (n, m)" if encoders else "no encoder has a usual name"
        if listed:
            reason = (
                "none is what the decoder turns into the reconstruction" if self.decoders else "several are possible"
            )
        return refuse("encode", self.trials, reason, listed, [*encoders, self.whole])

    @cached_property
    def decode(self) -> Any:
        """The accessor of the decoder."""
        if self.given["decode"]:
            return self.given["decode"]
        if not self.decoders:
            return refuse_decoder(self.model)
        latents, reconstruct = self.encode, self.reconstruct
        right = [each for each in self.decoders if self.trials.decodes(each, latents.flat, reconstruct.flat)]
        reason = (
            f"{self.decoders[0]}({latents.accessor}(x)) differs from the reconstruction: a step is missing, or a "
            f"connection goes past the latents, which decode={str(self.decoders[0])!r} leaves out"
        )
        return right[0] if right else refuse("decode", self.trials, reason, [], [])

    @property
    def holds(self) -> bool | None:
        """Whether decode(encode(rows)) = reconstruct(rows); None if there are no such parts."""
        latents, reconstruct = or_none(self, "encode"), or_none(self, "reconstruct")
        decoders = self.decoders[:1] if self.given["decode"] else self.decoders
        if not (latents and reconstruct and decoders):
            return None
        return any(self.trials.decodes(decoder, latents.flat, reconstruct.flat) for decoder in decoders)

    @property
    def _is_given(self) -> bool:
        return bool(self.given["encode"] or self.given["latent_distribution"])

    def _tables_of(self, root: Any) -> list[Candidate]:
        """List the tensors that may be the reconstruction."""
        found = _distinct([each for each in self.trials.candidates(root) if self.trials.is_table(each.tensor)])
        if [each.accessor for each in found] != [root] and (not self.given["reconstruct"] or len(found) > 1):
            found = [each for each in found if not self.trials.is_rows(each.flat)]
        return [each for each in found if each.name in outputs.RECONSTRUCTIONS] or found

    @cached_property
    def _encoded(self) -> list[Candidate]:
        """Tensors of the encoders that may be the latents."""
        if self.given["encode"]:
            return self._latents_of(self.given["encode"])
        if self.given["latent_distribution"]:
            return self._latents_of(self.given["latent_distribution"])[:1]
        return [each for part in find_parts(self.model, ENCODERS) for each in self._latents_of(part)]

    def _latents_of(self, accessor: Any) -> list[Candidate]:
        """List the tensors of an encoder that may be the latents, those with a usual name first."""
        found = [each for each in self.trials.candidates(accessor) if each.name not in outputs.VARIANCES]
        found = [each for each in found if self.given["encode"] or not self.trials.is_rows(each.tensor)]
        found = [each for each in found if each.tensor.ndim == 2 or each.tensor.shape[1] == 1 and each.tensor.ndim == 3]
        order = {name: place for place, name in enumerate(outputs.LATENTS)}
        return sorted(found, key=lambda each: order.get(str(each.name), len(order)))

    @cached_property
    def _beside(self) -> list[Candidate]:
        """Tensors that forward returns beside the reconstruction, or what may be the reconstruction."""
        chosen = or_none(self, "reconstruct")
        tables = [chosen] if chosen else self._all_tables
        return [each for root in self._roots for each in self._latents_of(root) if not _in(each, tables)]

    @cached_property
    def _roots(self) -> list[Any]:
        """Accessors of all that the model returns."""
        forward = [FORWARD] if has_forward(self.model) else []
        return [*dict.fromkeys([self.whole, *forward])] if self.whole else forward

    @property
    def _all_tables(self) -> list[Candidate]:
        return [each for root in self._roots for each in self._tables_of(root)]

    @cached_property
    def _derived(self) -> list[Candidate]:
        """Tensors that one more layer makes of the output of an encoder, and the first half of this output."""
        trunks = [each for each in self._encoded if isinstance(each.accessor, Part) and each.tensor.ndim == 2]
        layers = [Part(name) for name, _ in self.model.named_children()]
        chains: list[Any] = [Chain(trunk.accessor, layer) for trunk in trunks for layer in layers]
        chains += [FirstHalf(trunk.accessor) for trunk in trunks if trunk.tensor.shape[1] % 2 == 0]
        return [each for chain in chains for each in self.trials.candidates(chain) if each.accessor == chain]

    @cached_property
    def _within(self) -> list[Candidate]:
        """Outputs of modules while the model reconstructs, for steps that are not in modules of their own."""
        named = [part.path for part in find_parts(self.model, ENCODERS) if self._is_module(part)]
        within = tuple(f"{each.path}." for each in self.decoders if isinstance(each, Part))
        others = [name for name, _ in self.model.named_modules() if name and not f"{name}.".startswith(within)]
        paths = [*dict.fromkeys([*named, *others])][:MOST_MODULES] if self.whole else []
        return [each for path in paths for each in self._latents_of(Within(Part(path), self.whole))]

    def modules_like(self, tensor: Tensor) -> list[Any]:
        """List the accessors of modules that return another tensor of the same shape while the model reconstructs."""
        found = _distinct([each for each in self._within if each.tensor.shape == tensor.shape])
        return [each.accessor for each in found if not same(each.tensor, tensor)]

    def _decoding(self, tables: list[Candidate], groups: list[list[Candidate]] | None = None) -> list[Candidate]:
        """List the candidates for the latents that a decoder turns into one of ``tables``, or the first of them."""
        beside = [each for root in self._roots for each in self._latents_of(root)]
        groups = [self._encoded, self._derived, beside] if groups is None else groups
        return [
            latents
            for group in groups
            for latents in group
            if any(self.trials.decodes(d, latents.flat, table.flat) for d in self.decoders for table in tables)
        ]

    @cached_property
    def _received(self) -> list[Tensor]:
        """Tensors that decoders are called with while the model reconstructs."""
        return [each for decoder in self.decoders for each in self.trials.received(decoder, self.whole)]

    @cached_property
    def _autoencoding(self) -> list[Candidate]:
        """The latents, and decode(encode(rows)), by the usual names; empty if there are no such parts."""
        latents = _clear(self._encoded)
        if latents is None or self.given["reconstruct"]:
            return []
        decoded = [(decoder, self.trials.decoded(decoder, latents.flat)) for decoder in self.decoders]
        found = [Candidate(Autoencoding(latents.accessor, d), table) for d, table in decoded if table is not None]
        return [latents, found[0]] if found else []

    @property
    def _layers(self) -> list[Candidate]:
        """Outputs of the first layers of a plain Sequential, for refusals."""
        count = len(self.model) if isinstance(self.model, nn.Sequential) else 0
        return self._all([FirstLayers(number) for number in range(1, count)])

    def _all(self, roots: list[Any]) -> list[Candidate]:
        return [each for root in roots if root for each in self.trials.candidates(root)]

    def _is_doubtful(self, latents: Candidate) -> bool:
        """Return whether the output of a module may be a step on the way to the latents."""
        root = _root(latents.accessor)
        if not self._is_module(root):
            return False
        return self._is_narrowed(root, latents) or bool(self._beside and not _in(latents, self._beside))

    def _is_narrowed(self, root: Part, latents: Candidate) -> bool:
        """Return whether another module receives the latents while the model runs, and returns no more columns."""
        others = [Part(name) for name, _ in self.model.named_modules() if name and not name.startswith(root.path)]
        calls = (call for part in others for call in self.trials.calls(part, self.whole)) if self.whole else ()
        return any(
            same(taken, latents.tensor) and isinstance(given, Tensor) and given.shape[-1] <= latents.tensor.shape[-1]
            for taken, given in calls
        )

    def _is_module(self, part: Any) -> bool:
        return isinstance(part, Part) and isinstance(attrgetter(part.path)(self.model), nn.Module)


def or_none(resolver: Resolver, part: str) -> Any:
    """Return a part of the model, or None if it is not clear."""
    try:
        return getattr(resolver, part)
    except ModelError:
        return None


def _root(accessor: Any) -> Any:
    """Return the part of the model that is run first."""
    while hasattr(accessor, "inner"):
        accessor = accessor.inner
    return accessor


def _clear(found: list[Candidate]) -> Candidate | None:
    """Choose among the tensors of the first part: by name, by type, or the only one. None if that is not clear."""
    found = _distinct([each for each in found if _root(each.accessor) == _root(found[0].accessor)])
    means = [each for each in found if getattr(each.accessor, "key", 0) is None]
    if found and found[0].name in outputs.LATENTS:
        return found[0]
    return [*means, *found][0] if 1 in (len(means), len(found)) else None


def _named(found: list[Candidate]) -> Candidate | None:
    """Choose a tensor with a usual name of latents, or the mean of a distribution; None if there is no such tensor."""
    clear = _clear(found)
    known = clear and (clear.name in outputs.LATENTS or getattr(clear.accessor, "key", 0) is None)
    return clear if known else None


def _distinct(found: list[Candidate]) -> list[Candidate]:
    """Leave out tensors that equal earlier tensors."""
    return [each for place, each in enumerate(found) if not _in(each, found[:place])]


def _in(one: Candidate, others: list[Candidate]) -> bool:
    return any(same(one.flat, each.flat) for each in others)
