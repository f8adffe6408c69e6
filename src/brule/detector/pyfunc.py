"""The detector as a model of MLflow, from code: `tracking.registry` registers this file, MLflow's servers run it.

The copy that MLflow keeps stands alone beside the package's code of that day and the detector's weights. It is run,
never imported: its last line hands the model to MLflow.
"""

from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import BAD_REQUEST
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from brule.detector.model import Detector
from brule.detector.protocol import Answer, Question, answer
from brule.errors import BruleError


class Landmarks(PythonModel):
    """Photos in, named points out; the type hints of `predict` are the signature, which MLflow holds requests to."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the weights, once."""
        self.detector = Detector.load(context.artifacts["detector"])

    def predict(self, model_input: list[Question]) -> list[Answer]:  # type: ignore[override]  # as MLflow asks for it
        """The landmarks of each photo. Raises Refusal naming the first that cannot be answered."""
        try:
            return answer(self.detector, model_input)
        except BruleError as error:
            raise Refusal(str(error)) from None


class Refusal(MlflowException):
    """A request at fault: status 400 and one sentence, which stays as it is.

    MLflow's server would put the whole request before it: megabytes of base64.
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
