"""The detector as an MLflow model from code: `tracking.registry` registers this file, and MLflow's servers run it.

MLflow keeps a copy of it, next to the package's code as it was then and the detector's weights. The copy is run, never
imported: its last line hands the model to MLflow.
"""

from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import BAD_REQUEST
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from brule.detector.model import Detector
from brule.detector.protocol import Answer, Question, answer
from brule.errors import BruleError


class Landmarks(PythonModel):
    """Photos in, named points out. MLflow takes the signature from the type hints of `predict`, and enforces it."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the weights, once."""
        self.detector = Detector.load(context.artifacts["detector"])

    def predict(self, model_input: list[Question]) -> list[Answer]:  # type: ignore[override]  # MLflow wants this signature
        """The landmarks of each photo. Raises Refusal, naming the first photo that it cannot answer."""
        try:
            return answer(self.detector, model_input)
        except BruleError as error:
            raise Refusal(str(error)) from None


class Refusal(MlflowException):
    """A bad request: status 400 and one sentence, which stays as it is.

    MLflow's server would otherwise put the whole request in front of it: megabytes of base64.
    """

    def __init__(self, sentence: str) -> None:
        self._sentence = sentence
        super().__init__(sentence, error_code=BAD_REQUEST)

    @property
    def message(self) -> str:
        return self._sentence

    @message.setter
    def message(self, longer: str) -> None:
        pass


set_model(Landmarks())
