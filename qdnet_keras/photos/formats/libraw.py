"""Develops the raw file on standard input: `[H, W, 1 | 3]` for `numpy.load` on standard output.

It runs in a process of its own, see `raw`: of damage LibRaw tells standard error alone, and some
may end the process.
"""

import io
import sys

import numpy as np
import rawpy

_SRGB_CURVE = (2.4, 12.92)  # exponent and slope near black


def main() -> None:
    try:
        with rawpy.imread(io.BytesIO(sys.stdin.buffer.read())) as raw:
            samples = raw.postprocess(
                use_camera_wb=True,
                no_auto_bright=True,
                output_color=rawpy.ColorSpace.sRGB,
                gamma=_SRGB_CURVE,
                output_bps=16,
            )
    except rawpy.LibRawError as error:
        message = error.args[0]
        sys.exit(message.decode() if isinstance(message, bytes) else message)
    np.save(sys.stdout.buffer, samples)


if __name__ == "__main__":
    main()
