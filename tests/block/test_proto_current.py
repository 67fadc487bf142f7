"""The committed protobuf modules say what the .proto files beside them say."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

ROOT = Path(__file__).parents[2]
PROTOS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "pyro_assets").rglob("*.proto"))


@pytest.mark.parametrize("proto", PROTOS)
def test_generated_module_is_current(proto: str, tmp_path: Path) -> None:
    """Compares descriptors, which do not depend on the compiler's version as the module's text does."""
    pytest.importorskip("grpc_tools", reason="the compiler comes with the dev extra", exc_type=ImportError)
    out = tmp_path / "set.pb"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT}", f"--descriptor_set_out={out}", proto]
    subprocess.run(command, cwd=ROOT, check=True)
    compiled = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file[0]
    module = importlib.import_module(proto.removesuffix(".proto").replace("/", ".") + "_pb2")
    committed = descriptor_pb2.FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(committed)
    # Names in JSON are derived by the compiler and kept only by some run times.
    for one in (compiled, committed):
        one.ClearField("source_code_info")
        for message in one.message_type:
            _forget_json_names(message)
    assert committed == compiled, f"renew it: python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. {proto}"


def _forget_json_names(message: descriptor_pb2.DescriptorProto) -> None:
    for field in message.field:
        field.ClearField("json_name")
    for nested in message.nested_type:
        _forget_json_names(nested)


def test_there_is_a_module_beside_every_proto() -> None:
    assert "pyro_assets/block/metadata.proto" in PROTOS
    for proto in PROTOS:
        assert (ROOT / proto.replace(".proto", "_pb2.py")).is_file()
        assert (ROOT / proto.replace(".proto", "_pb2.pyi")).is_file()
