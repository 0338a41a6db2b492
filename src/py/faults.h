/* The system calls' fault table (os/sys.h) shown to Python's tests. Debug builds
 * only: without CLOOP_DEBUG this adds nothing, and tests ask hasattr(_cloop,
 * "_fault_set"). */
#ifndef CL_PY_FAULTS_H
#define CL_PY_FAULTS_H

#include "compat.h"

/* Adds _fault_set, _fault_one_byte, _fault_clear and _fault_counts. 0 or -1. */
int faults_add(PyObject *module);

#endif
