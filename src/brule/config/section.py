"""What every group of parameters has in common, and the kinds of numbers there are."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(gt=0)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class WrongError(ValueError):
    """What is wrong with one value; its key and the value are put before it."""


class Section(BaseModel):
    """A group of parameters: immutable, and closed to keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    @field_validator("*", mode="before")
    @classmethod
    def _numbers(cls, value: Any, info: ValidationInfo) -> Any:
        """`true` is no number, though Python takes it for 1."""
        number = cls.model_fields[info.field_name or ""].annotation in (int, float)
        if number and isinstance(value, bool):
            raise WrongError("should be a number")
        return value
