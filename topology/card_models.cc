#include "topology/card_models.h"

#include <array>

namespace basalt {
namespace {

// Watts: Lettich et al., "Power- and Fragmentation-aware Online Scheduling for GPU Datacenters",
// CCGrid 2025 (arXiv 2412.17484). openb hides the names of G2 and G3; that paper takes G2 for A10
// and G3 for A100. Memory: vendors' data sheets; the hidden models stay at 0, unknown.
constexpr std::array kModels = {
    CardModelInfo{"A10", "NVIDIA", 24576, 30, 150},
    CardModelInfo{"A100", "NVIDIA", 40960, 50, 400},
    CardModelInfo{"G2", "NVIDIA", 0, 30, 150},
    CardModelInfo{"G3", "NVIDIA", 0, 50, 400},
    CardModelInfo{"P100", "NVIDIA", 16384, 25, 250},
    CardModelInfo{"T4", "NVIDIA", 16384, 10, 70},
    CardModelInfo{"V100M16", "NVIDIA", 16384, 30, 300},
    CardModelInfo{"V100M32", "NVIDIA", 32768, 30, 300},
};

constexpr CpuPackageInfo kXeon2682v4{"Xeon E5-2682 v4", 15, 120, 16};
constexpr CpuPackageInfo kXeon8269CY{"Xeon Platinum 8269CY", 20, 205, 26};

}  // namespace

std::optional<CardModelInfo> FindCardModel(std::string_view name) {
  for (const CardModelInfo& model : kModels) {
    if (model.name == name) return model;
  }
  return std::nullopt;
}

std::span<const CardModelInfo> KnownCardModels() { return kModels; }

CpuPackageInfo CpuPackageFor(std::string_view card_model) {
  const bool older = card_model == "P100" || card_model == "V100M16" || card_model == "V100M32" ||
                     card_model.empty();
  return older ? kXeon2682v4 : kXeon8269CY;
}

}  // namespace basalt
