"""What makes the simulator quick lets nothing forged through."""

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.simulator.keys import Eye, Pen, remembered


def test_only_what_the_pen_wrote_fits():
    pen, other = Pen(Ed25519PrivateKey.generate()), Ed25519PrivateKey.generate()
    eye = Eye(pen.public_key())
    with remembered():
        signature = pen.sign(b"run")
        eye.verify(signature, b"run")
        for forged, data in ((signature, b"stop"), (other.sign(b"run"), b"run")):
            with pytest.raises(InvalidSignature):
                eye.verify(forged, data)
    eye.verify(signature, b"run")
