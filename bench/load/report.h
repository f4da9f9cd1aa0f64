/*
 * report.h - what came out of a run, for people and for programs
 *
 * The fields of the JSON object are told in bench/README.md: programs rely on them.
 */
#pragma once

#include "bench/load/run.h"

void report_table(FILE *to, const struct load_result *r);
void report_json(FILE *to, const struct load_result *r);
