"""
BoringSSL, as it is in curl_cffi, with the ClientHello of a browser.

usage: boringssl.py VERSION METHOD URL ROOTS FILE      as libcurl.py
"""
import sys

from curl_cffi import CurlHttpVersion, CurlOpt, requests

VERSIONS = {"1.2": 6 | 6 << 16, "1.3": 7 | 7 << 16}


def main(version, method, url, roots, file):
    session = requests.Session(impersonate="chrome", verify=roots, http_version=CurlHttpVersion.V1_1, timeout=90,
                               curl_options={CurlOpt.SSLVERSION: VERSIONS[version]})
    if method == "PUT":
        with open(file, "rb") as f:
            answer = session.put(url, data=f.read())
        print(answer.text)
    else:
        answer = session.get(url)
        with open(file, "wb") as f:
            f.write(answer.content)
    answer.raise_for_status()


main(*sys.argv[1:])
