/* add_signal_handler and its wakeup fd. A signal's byte is written by CPython's C
 * handler into a socket pair that the loop watches; the Python-visible handler then runs
 * from the ready ring. Set up with the first handler, torn down with the last; the
 * previous wakeup fd is put back. Main thread only. */
#ifndef CL_CORE_SIGNALS_H
#define CL_CORE_SIGNALS_H

#include "loop.h"

#endif
