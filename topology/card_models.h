// The card models and CPU packages that Basalt knows by name, with what a placement policy may ask
// about them. One table (card_models.cc); an unknown model is legal everywhere and has no power
// figures, and a policy that needs them says so when it is configured.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace basalt {

struct CardModelInfo {
  std::string_view name;  // as traces and labels spell it
  std::string_view vendor;
  std::int64_t memory_mib;  // 0: not published
  std::int32_t idle_watts;
  std::int32_t full_watts;
};

struct CpuPackageInfo {
  std::string_view name;
  std::int32_t idle_watts;
  std::int32_t full_watts;
  std::int32_t cores;  // physical; 2 vCPU each
};

// nullopt when the model is not in the table.
std::optional<CardModelInfo> FindCardModel(std::string_view name);
std::span<const CardModelInfo> KnownCardModels();

// The CPU package assumed for machines that carry this card model. openb names no CPUs: the pairing
// of older cards with the 2682 v4 and newer ones with the 8269CY is Basalt's choice.
CpuPackageInfo CpuPackageFor(std::string_view card_model);

}  // namespace basalt
