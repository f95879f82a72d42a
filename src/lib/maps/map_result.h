/* The four outcomes of asking for a fact. DEFER (it failed) is never read as ABSENT (it said no). */
#pragma once

enum map_result {
	MAP_FOUND,
	MAP_ABSENT,
	MAP_DEFER,              /* the lookup failed; the fault says why */
	MAP_WAIT,               /* asked, not answered yet: return, and run the rule again when `ready` is called */
};
