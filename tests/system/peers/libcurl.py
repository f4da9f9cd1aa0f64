"""
A libcurl by its file's name, whatever TLS library is in it (curl's program has one of its own).

usage: libcurl.py LIBRARY VERSION METHOD URL ROOTS FILE

GET writes the body to FILE; PUT sends FILE and prints the answer. VERSION: 1.2 or 1.3.
"""
import ctypes
import sys

WRITEDATA, URL, READDATA, CAINFO, UPLOAD, SSLVERSION, FAILONERROR, TIMEOUT, INFILESIZE_LARGE = (
    10001, 10002, 10009, 10065, 46, 32, 45, 13, 30115)
VERSIONS = {"1.2": 6 | 6 << 16, "1.3": 7 | 7 << 16}  # at least, and at most


def main(library, version, method, url, roots, file):
    curl, libc = ctypes.CDLL(library), ctypes.CDLL(None)
    curl.curl_easy_init.restype = libc.fopen.restype = ctypes.c_void_p
    curl.curl_version.restype = curl.curl_easy_strerror.restype = ctypes.c_char_p
    print(curl.curl_version().decode(), file=sys.stderr)
    easy = ctypes.c_void_p(curl.curl_easy_init())

    def setopt(option, value):
        if curl.curl_easy_setopt(easy, ctypes.c_int(option), value) != 0:
            sys.exit(f"option {option} is not known")

    body = ctypes.c_void_p(libc.fopen(file.encode(), b"rb" if method == "PUT" else b"wb"))
    setopt(URL, ctypes.c_char_p(url.encode()))
    setopt(CAINFO, ctypes.c_char_p(roots.encode()))
    setopt(SSLVERSION, ctypes.c_long(VERSIONS[version]))
    setopt(FAILONERROR, ctypes.c_long(1))
    setopt(TIMEOUT, ctypes.c_long(90))
    if method == "PUT":
        libc.fseek(body, ctypes.c_long(0), 2)
        size = libc.ftell(body)
        libc.fseek(body, ctypes.c_long(0), 0)
        setopt(UPLOAD, ctypes.c_long(1))
        setopt(READDATA, body)
        setopt(INFILESIZE_LARGE, ctypes.c_int64(size))
    else:
        setopt(WRITEDATA, body)
    rc = curl.curl_easy_perform(easy)
    libc.fclose(body)
    libc.fflush(None)
    sys.exit(curl.curl_easy_strerror(rc).decode() if rc else 0)


main(*sys.argv[1:])
