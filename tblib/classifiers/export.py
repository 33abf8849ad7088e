"""tblib's CNN as an ONNX file with its spec, as anybody's model can be given to an audit."""

from pathlib import Path

import torch
import yaml

from tblib.classifiers.onnx_file import OWN
from tblib.classifiers.protocol import ClassifierError
from tblib.classifiers.spec import Spec
from tblib.classifiers.trained import load_model
from tblib.run import MODEL, Run
from tblib.system.files import replacing

FILES = ("model.onnx", "model.yml")
OPSET = 18
NOTE = "# Of the films of the run that the CNN is from; before an audit on films of others, change seen to no."


def export(run: Run, overwrite: bool = False) -> tuple[Path, Path]:
    """Write ``model.onnx`` and its spec, ``model.yml``, into the folder of a run that trained a CNN.

    The input are films float32 (N, 1 or 3, size, size), normalised as the spec says, the output logits float32 (N,).

    Raises:
        ClassifierError: they are there already; a package is missing; or the CNN gets films as no spec can say.
        MissingInputError: the run trained no CNN.
        ModelError: its file cannot be used.
    """
    model, spec = (run.path(name) for name in FILES)
    there = [str(path) for path in (model, spec) if path.exists()]
    if there and not overwrite:
        raise ClassifierError(f"{' and '.join(there)} would be replaced; ask for it with --overwrite, or move them.")
    trained = load_model(run.need(MODEL))
    if trained.mitigation:
        raise ClassifierError(
            f"The CNN of {run.name} gets films after the mitigation {trained.mitigation}, which no spec can say, so "
            "that as an ONNX file it would answer of other films. Audit its model.safetensors itself."
        )
    facts = trained.normalisation
    told = Spec(
        output="logit",
        scale=1.0,
        size=(trained.size, trained.size),
        channels="grey" if trained.channels == 1 else "rgb",
        layout="nchw",
        mean=(facts.mean,),
        sd=(facts.sd,),
        name=f"CNN of {run.folder.name}",
        trained_on=f"the films of the run {run.folder.name}",
        seen="yes",
    )
    film = torch.zeros(1, trained.channels, trained.size, trained.size)
    with replacing(model) as part:
        _write(trained.cnn, film, part)
    with replacing(spec) as part:
        content = yaml.safe_dump(told.plain(), sort_keys=False, allow_unicode=True)
        part.write_text(f"{NOTE}\n{content}", encoding="utf-8")
    return model, spec


def _write(cnn: torch.nn.Module, film: torch.Tensor, path: Path) -> None:
    """Export a network for any number of films like one."""
    try:
        import onnxscript  # noqa: F401  (what the exporter needs, checked here for a sentence instead of a traceback)
    except ImportError as error:
        raise ClassifierError(f"ONNX files need another package ({error}): pip install -e '.[onnx]'") from error
    program = torch.onnx.export(
        cnn,
        (film,),
        dynamo=True,
        verbose=False,
        opset_version=OPSET,
        input_names=["films"],
        output_names=["logits"],
        dynamic_shapes={"films": {0: torch.export.Dim("films")}},
    )
    assert program is not None
    program.model.producer_name = OWN
    program.save(str(path), external_data=False)
