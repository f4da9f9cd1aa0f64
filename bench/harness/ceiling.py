"""
What a core can at most: public-key operations by OpenSSL, records by ipsec-mb alone, packets by testpmd.

testpmd's macswap runs on the gateway's core, on the port that the gateway would have; another one, on the
other core, sends a few bursts first and then whatever comes back, so that no ring is ever full. (One that
sends as much as it can leaves AF_XDP receiving what it then drops.) A packet received and sent again is one.
"""
import ctypes
import re
import statistics
import sys
import time

from . import place as P

SIZES = {64: "", 1514: "_1514"}  # bytes of a frame, and how its figure is called
AEAD = P.L.BUILD / "bench/isthmus-ceiling-aead"
TRIES = 3


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


def testpmd(place, name, ns, core, vdev, *mode):
    both = f"{P.GATEWAY_CORE},{P.OTHER_CORE}"
    main = P.GATEWAY_CORE + P.OTHER_CORE - core  # where it only prints, once a second
    return place.start(name, ns, both, "dpdk-testpmd", "-l", both, "--main-lcore", main, "--no-pci",
                       "--in-memory", "-m", "128", "--vdev", vdev, "--", *mode, "--auto-start", "--stats-period=1",
                       "--total-num-mbufs=16384")


def macswap(place, swap, send, size, seconds):
    """
    Packets of @size bytes a second that come back; None if none do, as testpmd did not start, or its first
    bursts were sent before the two had met. @swap, @send: (namespace, port) of the two.
    """
    a = testpmd(place, "macswap", swap[0], P.GATEWAY_CORE, swap[1], "--forward-mode=macswap")
    time.sleep(2)
    place.pin_napi()
    b = testpmd(place, "sender", send[0], P.OTHER_CORE, send[1], "--forward-mode=io", "--tx-first", "--burst=128",
                f"--txpkts={size}")
    try:
        time.sleep(3 + seconds)
        rates = [int(r) for r in re.findall(r"Tx-pps:\s+(\d+)", place.log("macswap"))]
    finally:
        for p in (b, a):
            place.stop(p)
            (place.tmp / f"{p.name}.log").unlink()
    rates = [r for r in rates if r > 0]
    return statistics.median(rates) if rates else None


def first_that_ran(place, *args):
    for _ in range(TRIES):
        (place.tmp / "testpmd.memif").unlink(missing_ok=True)  # of one before, that was killed
        rate = macswap(place, *args)
        if rate is not None:
            return rate
        print(f"testpmd: nothing came back of packets of {args[-2]} bytes over {args[0][1]}", file=sys.stderr)
    return None


def packets(place, seconds):
    """Microseconds of one that is received and sent: a short one, and one of the MTU."""
    place.steer(kernel=False)
    memif = f"socket={place.tmp}/testpmd.memif,socket-abstract=no"
    pairs = {
        "af_xdp": ((P.GATEWAY, "net_af_xdp0,iface=bgw0"), (P.CLIENT, "net_af_xdp0,iface=bc0")),
        "memif": ((P.GATEWAY, f"net_memif0,role=server,{memif}"), (P.GATEWAY, f"net_memif0,role=client,{memif}")),
    }
    rates = {(name, size): first_that_ran(place, *pair, size, seconds)
             for name, pair in pairs.items() for size in SIZES}
    return {f"macswap_{name}{SIZES[size]}_us": 1e6 / rate for (name, size), rate in rates.items() if rate}


def measure(place, quick):
    found = public_key(1 if quick else 3) | x25519_key_pair() | records()
    try:
        return found | packets(place, 2 if quick else 5)
    except RuntimeError as e:
        print(f"testpmd: {e}")
        return found
