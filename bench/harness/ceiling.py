"""What a core can at most: public-key operations by OpenSSL, records by ipsec-mb alone."""
import ctypes
import re
import time

from . import place as P

AEAD = P.L.BUILD / "bench/isthmus-ceiling-aead"


def on_core(*args):
    return P.L.sh("taskset", "-c", str(P.GATEWAY_CORE), *args).stdout


def public_key(seconds):
    """Microseconds each, by `openssl speed`."""
    out = on_core("openssl", "speed", "-seconds", seconds, "ecdsap256", "ecdhx25519")
    sign, verify = re.search(r"ecdsa \(nistp256\)\s+\S+\s+\S+\s+(\S+)\s+(\S+)", out).groups()
    derive = re.search(r"ecdh \(X25519\)\s+\S+\s+(\S+)", out).group(1)
    return {"sign_us": 1e6 / float(sign), "verify_us": 1e6 / float(verify), "x25519_derive_us": 1e6 / float(derive)}


def x25519_key_pair(n=3000):
    """Which `openssl speed` does not measure."""
    lib = ctypes.CDLL("libcrypto.so.3")
    lib.EVP_PKEY_CTX_new_id.restype = ctypes.c_void_p
    ctx, key = ctypes.c_void_p(lib.EVP_PKEY_CTX_new_id(1034, None)), ctypes.c_void_p()  # NID_X25519
    lib.EVP_PKEY_keygen_init(ctx)
    began = time.perf_counter()
    for _ in range(n):
        key.value = None
        lib.EVP_PKEY_keygen(ctx, ctypes.byref(key))
        lib.EVP_PKEY_free(key)
    took = time.perf_counter() - began
    lib.EVP_PKEY_CTX_free(ctx)
    return {"x25519_key_pair_us": 1e6 * took / n}


def records():
    """Nanoseconds of a record, by bench/ceiling/aead.c."""
    if not AEAD.exists():
        return {}
    rows = re.findall(r"(\S+) (\d+) bytes: (\S+) ns", on_core(AEAD))
    return {f"{what}_{size}_ns": float(ns) for what, size, ns in rows}


def measure(quick):
    return public_key(1 if quick else 3) | x25519_key_pair() | records()
