"""The paper's mathematics: tensors in, tensors out; knows no network and no file."""
