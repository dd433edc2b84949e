/* identity.c: see identity.h. */
#include "agent/identity.h"

#include <stdio.h>

enum identity_verdict identity_judge(const char *saved, const char *told)
{
	if (saved[0] == '\0' || strcmp(saved, told) == 0) {
		return IDENTITY_SAME;
	}
	if (told[0] == '\0' && strcmp(saved, IDENTITY_UNSURE) != 0) {
		return IDENTITY_DOUBT;
	}
	return IDENTITY_OTHER;
}

bool identity_learn(char saved[STORE_IDENTITY_MAX], const char *told)
{
	if (saved[0] != '\0' || told[0] == '\0') {
		return false;
	}
	(void)snprintf(saved, STORE_IDENTITY_MAX, "%s", told);
	return true;
}
