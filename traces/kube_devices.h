// What a pod asks of cards, by the names that device plugins give their resources. Which names
// there are and what they mean says the catalog of card models (devices): HAMi's, Volcano's, MIG
// profiles, names of one model and Basalt's neutral ones. Beside it Alibaba's gpu-milli, gpu-count
// and gpu-card-model annotations (open-gpu-share), and vendors' names of whole cards that the
// catalog does not have.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "devices/catalog.h"
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

inline constexpr std::string_view kOpenCount = "alibabacloud.com/gpu-count";
inline constexpr std::string_view kOpenMilli = "alibabacloud.com/gpu-milli";
inline constexpr std::string_view kOpenModel = "alibabacloud.com/gpu-card-model";

// The embedded one.
const devices::Catalog& CardCatalog();

// The whole number under a name, taken out of both lists; -1 when it is in neither.
std::int64_t TakeWhole(const std::string& file, std::string_view name, std::int64_t high,
                       Amounts* limits, Amounts* requests, Diagnostics* diagnostics);

// The members of a resource list such as limits; null gives none.
Amounts AmountsOf(const JsonValue* list);

struct CardAsk {
  std::int64_t cards = 0;
  std::int64_t milli = 0;         // of each; 0: no compute of its own
  std::int64_t mem_mib = -1;      // of each; -1: not asked
  std::int64_t mem_percent = -1;  // of each; -1: not asked
  friend bool operator==(const CardAsk&, const CardAsk&) = default;
};

struct KubeContainer {
  std::string name;
  bool init = false, sidecar = false;
  Amounts limits, requests;
};

// What a pod's containers ask.
struct PodAsk {
  std::vector<CardAsk> asks;  // by container with cards
  std::string models;         // allowed, "A100|H100"; empty: any
  std::string mig_profile;
  std::int64_t units = 0;  // compute in TFLOPS, which no column holds
  // Annotations that choose types of cards which no model of the catalog has.
  std::vector<std::pair<std::string, std::string>> types;
};

// What the containers that run together ask, or the init container that asks for more cards. The
// names that were understood are removed from the containers. Requests that the catalog's rules do
// not allow are reported, at the line of the first name.
PodAsk TakeCards(const std::string& file, const JsonValue* annotations,
                 std::vector<KubeContainer>* containers, Diagnostics* diagnostics);

// Whether TakeCards understands the name. MIG profiles that no model of the catalog has are not
// understood.
bool IsCardName(const std::string& resource);

// "1" and "500" of alibabacloud.com/gpu-count and gpu-milli. False: the annotations are not there.
bool CardsOfAnnotations(const std::string& file, const JsonValue* annotations, CardAsk* ask,
                        std::string* spec, Diagnostics* diagnostics);

// "GPU-a;GPU-b" from what HAMi, Volcano or open-gpu-share wrote on a pod; empty when none did.
std::string CardsOfPod(const JsonValue* annotations);

// Whether a resource is a device's: none of Kubernetes' own.
bool IsDevice(std::string_view resource);

std::vector<std::string_view> SplitAt(std::string_view text, char at);

}  // namespace basalt::trace
