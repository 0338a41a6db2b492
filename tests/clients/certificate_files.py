"""Certificates for the programs under test, made by trustme for this run."""

import contextlib
import os
import shutil
import tempfile

from tls_support import Contexts


class CertificateFiles(Contexts):
    """Contexts whose certificates are in files as well, for programs that read them."""

    def __init__(self, folder):
        super().__init__()
        self.authority_file = self._write(
            folder, "authority.pem", self.authority.cert_pem
        )
        self.chain, self.key = self._issued(folder, "server", self.certificate)
        self.client_chain, self.client_key = self._issued(
            folder, "client", self.client_certificate
        )

    def _issued(self, folder, name, certificate):
        chain = self._write(folder, name + ".pem", *certificate.cert_chain_pems)
        return chain, self._write(folder, name + ".key", certificate.private_key_pem)

    @staticmethod
    def _write(folder, name, *blobs):
        path = os.path.join(folder, name)
        with open(path, "wb") as file:
            for blob in blobs:
                file.write(blob.bytes())
        return path


@contextlib.contextmanager
def made():
    """They last as long as the block. The folder is open to all, for PostgreSQL reads
    them as another user."""
    folder = tempfile.mkdtemp(prefix="certificates-")
    os.chmod(folder, 0o755)
    try:
        yield CertificateFiles(folder)
    finally:
        shutil.rmtree(folder)
