"""Diverse lists: the best items of the model, of which a list is chosen one by one."""

from __future__ import annotations

import asyncio
from typing import Any

from ufnrec_tf.recommend.diversity import Diversifier
from ufnrec_tf.serving.batching import Outputs
from ufnrec_tf.serving.limits import Refusal
from ufnrec_tf.serving.models import LoadedModel
from ufnrec_tf.serving.rest import RequestInputs
from ufnrec_tf.serving.service import Service
from ufnrec_tf.serving.signatures import Signature

_DEFAULT = "serving_default"


async def call_model(
    service: Service,
    model: LoadedModel,
    signature: Signature,
    inputs: RequestInputs,
    diversity: float,
) -> Outputs:
    """Returns the outputs of a signature for a request; with a diversity, of a diverse list.

    Args:
        service: The batcher.
        model: The version in force.
        signature: The signature that the request names.
        inputs: Its inputs.
        diversity: From 0, the signature's own answer, to 1.

    Raises:
        Refusal: If the signature makes no lists for histories, or the model could not answer.
    """
    if not diversity:
        return await service.batcher.call(model, signature, inputs)
    numbers: dict[str, Any] = dict(inputs.numbers)
    if signature.name == _DEFAULT:
        signature, numbers["k"] = model.signature("recommend"), int(model.metadata["top_k"])
    elif not signature.name.startswith("recommend"):
        raise Refusal(400, f"`diversity` has no effect on {signature.name}. Leave it out.")
    k = min(numbers["k"], len(model.item_vectors))
    chooser = Diversifier(model.item_vectors, diversity)
    numbers["k"] = chooser.num_candidates(k)
    more = inputs._replace(numbers=tuple(numbers.items()))
    outputs = await service.batcher.call(model, signature, more)

    def choose() -> Outputs:
        places = model.places(outputs["item_ids"])
        ids, scores = chooser.chosen(outputs["item_ids"], outputs["scores"], places, k)
        return {"item_ids": ids, "scores": scores}

    return await asyncio.to_thread(choose)
