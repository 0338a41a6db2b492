/* Attributes of native protocols and writers that are made when asked for. */
#ifndef CL_IO_READER_LAZY_H
#define CL_IO_READER_LAZY_H

#include "reader.h"

/* Takes what nobody uses yet out of an instance's attributes, the instance having become
 * native. Never fails. */
void reader_lazy_drop(State *state, PyObject *dict, ReaderClass which);

/* Puts all of it back into a native protocol or writer. 0 or -1. */
int reader_lazy_fill(State *state, PyObject *op);

extern PyGetSetDef reader_lazy_protocol[];
extern PyGetSetDef reader_lazy_writer[];

#endif
