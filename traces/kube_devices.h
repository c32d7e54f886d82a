// What a pod asks of cards, and which cards a node has, by the names that device plugins give their
// resources: Alibaba's gpu-milli, gpu-count and gpu-card-model annotations (open-gpu-share),
// nvidia.com/gpu and other vendors' whole cards, and the memory and compute parts of HAMi and of
// Volcano's vGPU, whose amounts are per card.
//
// HAMi's rules hold: limits are read before requests; a count alone, or with 100 percent of the
// memory, is a whole card; memory or compute alone is of one card.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "traces/diagnostics.h"
#include "traces/json_records.h"
#include "traces/trace.h"

namespace basalt::trace {

// Resource name -> quantity as written, with the line.
struct Amount {
  std::string text;
  std::uint32_t line = 0;
};
using Amounts = std::map<std::string, Amount, std::less<>>;

// The members of a resource list such as limits; null gives none.
Amounts AmountsOf(const JsonValue* list);

struct CardAsk {
  std::int64_t cards = 0;
  std::int64_t milli = 0;         // of each; 0: no compute of its own
  std::int64_t mem_mib = -1;      // of each; -1: not asked
  std::int64_t mem_percent = -1;  // of each; -1: not asked
  friend bool operator==(const CardAsk&, const CardAsk&) = default;
};

// Of one container, from its limits and requests. The names that were understood are removed from
// both. Bad quantities are reported.
CardAsk TakeCards(const std::string& file, Amounts* limits, Amounts* requests,
                  Diagnostics* diagnostics);

// "1" and "500" of alibabacloud.com/gpu-count and gpu-milli. False: the annotations are not there.
bool CardsOfAnnotations(const std::string& file, const JsonValue* annotations, CardAsk* ask,
                        std::string* spec, Diagnostics* diagnostics);

// The cards of a node, from its allocatable resources, which lose the names that were understood,
// its labels and its device plugins' annotations.
struct NodeCards {
  std::int64_t count = 0;
  std::string model;
  std::int64_t mem_mib = -1;
  bool mixed = false;  // cards of several models or sizes: the smallest memory, the first model
};
NodeCards CardsOfNode(const std::string& file, const JsonValue& node, Amounts* allocatable,
                      Diagnostics* diagnostics);

// "GPU-a;GPU-b" from what HAMi, Volcano or open-gpu-share wrote on a pod; empty when none did.
std::string CardsOfPod(const JsonValue* annotations);

// Whether a resource is a device's: it has a domain and is none of Kubernetes' own.
bool IsDevice(std::string_view resource);

}  // namespace basalt::trace
