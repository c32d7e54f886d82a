// SKUs: named bundles of what a platform sells, each with a price. A file lists them:
//
//   skus:
//     - name: gpu-a100-quarter
//       help: a quarter of an A100
//       gpus: 1
//       gpu_milli: 250
//       gpu_memory_mib: 10240
//       models: [A100, A100-80G]
//       cpu_milli: 8000
//       memory_mib: 32768
//       price_milli_per_hour: 1200      # thousandths of the currency
//       currency: USD
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "devices/catalog.h"
#include "scheduler-core/base/result.h"
#include "scheduler-core/workload/request.h"

namespace basalt::devices {

struct Sku {
  std::string name = {};
  std::string help = {};
  RequestSpec request = {};
  std::int64_t price_milli_per_hour = 0;  // thousandths of the currency
  std::string currency = {};
};

// Errors: faults of the file as file:line:column; a name twice; a vendor, model or MIG profile that
// the catalog does not have; an amount that no request may have; more memory than any allowed card.
Result<std::vector<Sku>> ParseSkus(const Catalog& catalog, const std::string& file,
                                   const std::string& text);
// Errors: unknown; the message names the nearest.
Result<Sku> FindSku(const std::vector<Sku>& skus, const std::string& name);
// The keys as a Markdown table.
std::string SkuKeys();

}  // namespace basalt::devices
