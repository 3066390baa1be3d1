"""TorchServe's side: a TorchScript model that answers a request of the Open Inference Protocol."""

from pathlib import Path

import torch
from ts.torch_handler.base_handler import BaseHandler


class Handler(BaseHandler):
    def initialize(self, context):
        self.context, self.manifest = context, context.manifest
        folder = Path(context.system_properties["model_dir"])
        self.model = torch.jit.load(str(folder / "model.pt")).eval()
        self.initialized = True

    def preprocess(self, data):
        (tensor,) = data
        return torch.tensor(tensor["data"], dtype=torch.float32)

    def inference(self, data):
        with torch.no_grad():
            return self.model(data)

    def postprocess(self, data):
        return [data.tolist()]
