/* cmd_backends.c: `kvmirror backends` and `kvmirror version`. */
#include "agent/cli.h"
#include "agent/out.h"
#include "store/store_ops.h"

/* "string", or what may stand there: "auto|general|fast". */
static const char *type_text(const struct option_row *row)
{
	switch (row->type) {
	case OPTION_UINT:
		return "number";
	case OPTION_BOOL:
		return "yes|no";
	case OPTION_ENUM:
		return row->choices;
	default:
		return row->secret ? "env:NAME|file:PATH" : "string";
	}
}

static void print_text(struct out *o, const struct store_ops *ops)
{
	const struct option_row *row = ops->options;
	const char *const *s;

	out_text(o, "%s: %s\n  schemes:", ops->name, ops->help);
	for (s = ops->schemes; *s != NULL; s++) {
		out_text(o, " %s", *s);
	}
	out_text(o, "\n  options (?name=value):\n");
	out_text(o, "    %-18s %-20s %s\n", "prefix", "string",
		 "the keys below it; may stand in place of the path");
	for (; row != NULL && row->name != NULL; row++) {
		out_text(o, "    %-18s %-20s %s%s%s%s\n", row->name,
			 type_text(row), row->help,
			 row->initial == NULL ? "" : " (default ",
			 row->initial == NULL ? "" : row->initial,
			 row->initial == NULL ? "" : ")");
	}
}

static void add_option(struct out *o, json_t *array,
		       const struct option_row *row)
{
	json_t *object = out_json_object(o);

	out_json_text(o, object, "name", row->name);
	out_json_text(o, object, "type", type_text(row));
	out_json_text(o, object, "default", row->initial);
	out_json_bool(o, object, "secret", row->secret);
	out_json_text(o, object, "help", row->help);
	out_json_append(o, array, object);
}

static void print_json(struct out *o, const struct store_ops *ops)
{
	const struct option_row *row = ops->options;
	json_t *object = out_json_object(o);
	json_t *schemes, *rows;
	const char *const *s;

	out_json_text(o, object, "name", ops->name);
	out_json_text(o, object, "help", ops->help);
	schemes = out_json_array(o, object, "schemes");
	for (s = ops->schemes; *s != NULL; s++) {
		out_json_append(o, schemes, json_string(*s));
	}
	rows = out_json_array(o, object, "options");
	for (; row != NULL && row->name != NULL; row++) {
		add_option(o, rows, row);
	}
	out_json(o, object);
}

int cmd_backends(const struct cli *cli, struct cli_args *args)
{
	struct out o;
	size_t i;

	out_init(&o);
	for (i = 0; i < cli->registry->n; i++) {
		if (args->json) {
			print_json(&o, cli->registry->ops[i]);
		} else {
			print_text(&o, cli->registry->ops[i]);
		}
	}
	return out_finish(&o, CLI_OK);
}

int cmd_version(const struct cli *cli, struct cli_args *args)
{
	struct out o;

	(void)cli;
	(void)args;
	out_init(&o);
	out_text(&o, "kvmirror %s\n", KVMIRROR_VERSION);
	return out_finish(&o, CLI_OK);
}
