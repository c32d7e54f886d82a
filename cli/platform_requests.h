// Keys of everything that asks for cards (SKUs, offers).
#pragma once

#include "cli/platform_values.h"
#include "scheduler-core/workload/request.h"

namespace basalt::cli {

template <class T>
void AddRequestKeys(Keys<T>* keys) {
  keys->Count({.name = "cards",
               .help = "distinct cards of one node",
               .default_value = "1",
               .low = 0,
               .high = 64},
              &T::gpus)
      .Share({.name = "compute",
              .help = "of each card",
              .default_value = "100%, without `units`",
              .low = 0.1,
              .high = 100},
             &T::gpu_milli)
      .Custom({.name = "memory",
               .help = "on each card: a size, or a share of the card",
               .type = "size or share",
               .default_value = "not asked"},
              [](const auto& file, const auto& node, const auto& option, T* out,
                 config::Errors* errors) {
                const std::string text = node.IsScalar() ? node.Scalar() : "";
                const auto size = ParseSizeMib(text);
                const auto share = ParseShareMilli(text);
                if (size && *size <= kMaxAmount) {
                  out->gpu_memory_mib = *size;
                } else if (share && *share % 10 == 0 && *share <= 1000) {
                  out->gpu_memory_percent = static_cast<std::int32_t>(*share / 10);
                } else {
                  errors->Add(file, node,
                              fmt::format("{} must be a size such as 12GiB or a whole percentage "
                                          "up to 100%",
                                          option.name));
                }
              })
      .Count({.name = "units",
              .help = "compute in the catalog's units (dense FP16 TFLOPS) instead of a share: any "
                      "model that has them will do",
              .default_value = "0",
              .low = 0,
              .high = 1e6},
             &T::compute_units)
      .Thousandths({.name = "cpu",
                    .help = "of the pod",
                    .default_value = "0",
                    .unit = "cores",
                    .low = 0,
                    .high = 1e6},
                   &T::cpu_milli)
      .Size({.name = "host_memory", .help = "of the pod", .default_value = "0"}, &T::memory_mib)
      .TextList({.name = "models", .help = "that will do", .default_value = "any"}, &T::models)
      .TextList({.name = "not_models", .help = "that will not"}, &T::nouse_models)
      .TextList({.name = "vendors", .help = "that will do", .default_value = "any"}, &T::vendors)
      .TextList({.name = "tolerations", .help = "taints that it tolerates"}, &T::tolerations)
      .Choice({.name = "class",
               .help = "guaranteed: only memory that is physically there; the others also what is "
                       "oversubscribed",
               .default_value = "guaranteed"},
              &T::service_class,
              {{"guaranteed", ServiceClass::kGuaranteed},
               {"burstable", ServiceClass::kBurstable},
               {"best-effort", ServiceClass::kBestEffort}})
      .Text({.name = "mig_profile",
             .help = "this one and no other card",
             .default_value = "the smallest that serves"},
            &T::mig_profile)
      .Flag({.name = "passthrough",
             .help = "whole cards of the passthrough pool (a virtual machine)",
             .default_value = "false"},
            &T::passthrough);
}

}  // namespace basalt::cli
