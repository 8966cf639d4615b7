// The subcommands of kms-blob, behind the command line.
#pragma once

#include "blob/options.hpp"
#include "blob/report.hpp"

namespace kms::blob {

Exit run_put(const Options& options);
Exit run_get(const Options& options);
Exit run_list(const Options& options);
Exit run_info(const Options& options);
Exit run_remove(const Options& options);
Exit run_verify(const Options& options);
Exit run_rewrap(const Options& options);

}  // namespace kms::blob
