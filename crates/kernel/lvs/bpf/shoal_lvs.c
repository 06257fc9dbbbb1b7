/* The virtual server's programs as one object. See the headers for what each does:
 * sockets.h (tasks and own processes), entry.h (where clients come in), task.h (at the tasks).
 */
#include "abi.h"
#include "kernel.h"
#include "maps.h"
#include "tallies.h"
#include "affinity.h"
#include "allow.h"
#include "choose.h"
#include "sockets.h"
#include "packet.h"
#include "flow.h"
#include "entry.h"
#include "task.h"

/* The kernel offers several of the helpers to programs under a licence compatible with its own only. */
char _license[] SEC("license") = "Dual MIT/GPL";
