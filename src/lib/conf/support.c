/* What is set, protects or delivers, and does not work, stops the start. */
#include "conf/conf_private.h"

void
conf_check_support(struct conf_loading *l)
{
	(void)l;
}
