/* Child: a process by a descriptor of its own (pidfd), which never means another process
 * than the one it was opened for, as a number may once the process was waited for. */
#ifndef CL_IO_CHILD_H
#define CL_IO_CHILD_H

#include "../py/state.h"

/* _pidfd_open and _pidfd_send_signal: functions of the module, for cloop/process.py
 * (Python's own are missing from 3.8, and from builds with older headers). */
extern PyMethodDef child_functions[];

#endif
