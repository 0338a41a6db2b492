/* What the two ways to OpenSSL share: handshake and shutdown go through the Python object
 * in both, for callbacks of the user's context run there, and errors become the very
 * exceptions of the ssl module. */
#ifndef CL_TLS_WAYS_H
#define CL_TLS_WAYS_H

#include "tls.h"

TlsAnswer way_handshake(Tls *tls);
TlsAnswer way_shutdown(Tls *tls);

/* The exception that a method of the ssl module has raised, as an answer; it is raised no
 * more unless the answer is FAILED. */
TlsAnswer way_translate_error(Tls *tls);

#endif
