// The bytes of requests, nodes and gangs in journals and snapshots: little endian, names and never
// ids. Private to journal.cc and recording.cc. A reader of an older version leaves what that
// version did not have at its default, and never reads past the end.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "scheduler-core/engine/journal.h"

namespace basalt {

class Writer {
 public:
  void U8(std::uint8_t v) { out_.push_back(static_cast<char>(v)); }
  void U32(std::uint32_t v) { Little(v, 4); }
  void U64(std::uint64_t v) { Little(v, 8); }
  void I64(std::int64_t v) { U64(static_cast<std::uint64_t>(v)); }
  void Text(std::string_view v) {
    U32(static_cast<std::uint32_t>(v.size()));
    out_ += v;
  }
  void Uid(const PodUid& uid) {
    U64(uid.hi);
    U64(uid.lo);
  }
  void Strings(const std::vector<std::string>& v) {
    U32(static_cast<std::uint32_t>(v.size()));
    for (const std::string& s : v) Text(s);
  }
  void Labels(const std::vector<LabelRequirement>& v) {
    U32(static_cast<std::uint32_t>(v.size()));
    for (const LabelRequirement& l : v) {
      Text(l.key);
      Text(l.value);
    }
  }
  void Spec(const RequestSpec& s) {
    I64(s.cpu_milli);
    I64(s.memory_mib);
    I64(s.gpus);
    I64(s.gpu_milli);
    I64(s.gpu_memory_mib);
    I64(s.gpu_memory_percent);
    Strings(s.models);
    Labels(s.node_selector);
    Strings(s.tolerations);
    I64(s.min_bandwidth_mbps);
    U8(s.bandwidth_required ? 1 : 0);
    I64(s.nics);
    U8(static_cast<std::uint8_t>(s.numa));
    U32(static_cast<std::uint32_t>(s.containers.size()));
    for (const ContainerSpec& c : s.containers) {
      I64(c.cpu_milli);
      I64(c.memory_mib);
      I64(c.gpus);
      I64(c.nics);
      I64(c.gpu_milli);
      I64(c.gpu_memory_mib);
      I64(c.gpu_memory_percent);
      I64(c.compute_units);
    }
    I64(s.compute_units);
    Strings(s.vendors);
    Strings(s.nouse_models);
    Strings(s.use_uuids);
    Strings(s.nouse_uuids);
    U8(static_cast<std::uint8_t>(s.service_class));
    I64(s.memory_ratio_percent);
    Text(s.qos);
    Text(s.mig_profile);
    U8(s.passthrough ? 1 : 0);
  }
  void Rules(const CardRules& r) {
    Text(r.model);
    Text(r.vendor);
    I64(r.compute_units);
    I64(r.memory_unit_mib);
    U32(static_cast<std::uint32_t>(r.memory_sizes.size()));
    for (const MiB size : r.memory_sizes) I64(size);
    I64(r.compute_parts);
    U32(static_cast<std::uint32_t>(r.templates.size()));
    for (const SliceTemplate& t : r.templates) {
      Text(t.name);
      I64(t.memory_mib);
      I64(t.compute_milli);
    }
    U8(r.equal_slices ? 1 : 0);
    U8(r.several_slices ? 1 : 0);
    U8(r.one_qos ? 1 : 0);
    Integers(r.counts);
    U8(static_cast<std::uint8_t>(r.grouping));
    I64(r.group_size);
    I64(r.mig_slots);
    U32(static_cast<std::uint32_t>(r.mig.size()));
    for (const MigProfile& p : r.mig) {
      Text(p.name);
      I64(p.memory_mib);
      I64(p.compute_milli);
      I64(p.size);
      Integers(p.starts);
      U8(p.media ? 1 : 0);
    }
    U32(static_cast<std::uint32_t>(r.mig_layout.size()));
    for (const auto& [profile, start] : r.mig_layout) {
      I64(profile);
      I64(start);
    }
  }
  void Integers(const std::vector<std::int32_t>& v) {
    U32(static_cast<std::uint32_t>(v.size()));
    for (const std::int32_t i : v) I64(i);
  }
  void Node(const NodeSpec& n) {
    Text(n.name);
    I64(n.rank);
    I64(n.cpu_milli);
    I64(n.memory_mib);
    I64(n.max_pods);
    I64(n.numa_nodes);
    Labels(n.labels);
    Strings(n.taints);
    U32(static_cast<std::uint32_t>(n.cards.size()));
    for (const CardSpec& c : n.cards) {
      Text(c.uuid);
      Text(c.model);
      I64(c.memory_mib);
      I64(c.compute_milli);
      I64(c.slots);
      I64(c.numa);
      U8(static_cast<std::uint8_t>(c.mode));
      I64(c.memory_ratio_percent);
      I64(c.group);
    }
    Text(n.machine);
    Path(n.network);
    U8(static_cast<std::uint8_t>(n.numa_policy));
    U8(static_cast<std::uint8_t>(n.numa_scope));
    U32(static_cast<std::uint32_t>(n.numa.size()));
    for (const topology::NumaAmounts& part : n.numa) {
      I64(part.cpu);
      I64(part.memory);
    }
  }
  void Path(const topology::NetworkPath& path) {
    U32(static_cast<std::uint32_t>(path.size()));
    for (const topology::DomainStep& step : path) {
      I64(step.tier);
      Text(step.name);
    }
  }
  void Level(const LevelWish& level) {
    I64(level.preferred);
    I64(level.required);
  }
  void GangSpecOf(const GangSpecRecord& r) {
    Uid(r.uid);
    U32(r.attempt);
    U64(r.job);
    U32(static_cast<std::uint32_t>(r.spec.tasks.size()));
    for (const GangTask& t : r.spec.tasks) {
      Text(t.name);
      U32(t.shape.value());
      I64(t.min);
      I64(t.max);
      I64(t.group);
    }
    U32(static_cast<std::uint32_t>(r.spec.groups.size()));
    for (const GangGroup& g : r.spec.groups) {
      Text(g.name);
      Level(g.level);
    }
    Level(r.spec.level);
    U8(static_cast<std::uint8_t>(r.spec.layout));
    U32(static_cast<std::uint32_t>(r.pods.size()));
    for (const PodUid& uid : r.pods) Uid(uid);
    StandingOf(r.standing);
    Names(r.nodes);
    U32(static_cast<std::uint32_t>(r.task_nodes.size()));
    for (const NodeNames& names : r.task_nodes) Names(names);
  }
  void Names(const NodeNames& names) {
    U8(names.empty() ? 0 : 1);
    if (names.empty()) return;
    Strings(names.excluded);
    Strings(names.only);
  }
  void StandingOf(const Standing& s) {
    Text(s.queue);
    I64(s.priority);
    U8(s.preemptible ? 1 : 0);
    I64(s.min_runtime_us);
    I64(s.restart_us);
    Text(s.budget);
    Text(s.sku);
  }
  void AmountsOf(const AmountMap& amounts) {
    U32(static_cast<std::uint32_t>(amounts.size()));
    for (const auto& [name, amount] : amounts) {
      Text(name);
      I64(amount);
    }
  }
  void Queue(const QueueSpec& q) {
    Text(q.name);
    Text(q.parent);
    I64(q.weight);
    I64(q.priority);
    AmountsOf(q.guarantee);
    AmountsOf(q.deserved);
    AmountsOf(q.capacity);
    U8(q.reclaimable ? 1 : 0);
    I64(q.memory_ratio_percent);
    U32(static_cast<std::uint32_t>(q.slots.size()));
    for (const SlotQuota& slots : q.slots) {
      I64(slots.cards);
      I64(slots.count);
      Text(slots.model);
    }
  }
  void Budget(const DisruptionBudgetSet& b) {
    Text(b.name);
    I64(b.min_available);
    I64(b.max_unavailable);
    I64(b.expected);
  }
  // What is pinned to NUMA nodes: 0 for nearly every pod.
  void Numa(const std::shared_ptr<const NumaTake>& take) {
    U8(take == nullptr ? 0 : 1);
    if (take == nullptr) return;
    U8(take->nodes);
    U32(take->nics);
    for (std::size_t i = 0; i < take->cpu.size(); ++i) {
      I64(take->cpu[i]);
      I64(take->memory[i]);
    }
    U32(static_cast<std::uint32_t>(take->slices.size()));
    for (const SliceTake& s : take->slices) {
      U8(static_cast<std::uint8_t>(s.card));
      U8(static_cast<std::uint8_t>(s.container));
      U8(static_cast<std::uint8_t>(s.mig_profile));
      U8(static_cast<std::uint8_t>(s.mig_start));
      I64(s.milli);
      I64(s.memory);
      U8(s.whole ? 1 : 0);
    }
  }
  std::string Take() { return std::move(out_); }

 private:
  void Little(std::uint64_t v, int bytes) {
    for (int i = 0; i < bytes; ++i) out_.push_back(static_cast<char>((v >> (8 * i)) & 0xFF));
  }
  std::string out_;
};

// Reads never run past the end: a short or absurd input turns `ok` false and yields zeros.
class Reader {
 public:
  explicit Reader(std::string_view in, std::uint32_t version = kCodecVersion)
      : in_(in), version_(version) {}
  bool ok() const { return ok_; }
  bool done() const { return ok_ && at_ == in_.size(); }
  std::uint8_t U8() { return static_cast<std::uint8_t>(Little(1)); }
  std::uint32_t U32() { return static_cast<std::uint32_t>(Little(4)); }
  std::uint64_t U64() { return Little(8); }
  std::int64_t I64() { return static_cast<std::int64_t>(U64()); }
  std::int32_t I32() {
    const std::int64_t v = I64();
    if (v < INT32_MIN || v > INT32_MAX) ok_ = false;
    return static_cast<std::int32_t>(v);
  }
  std::string Text() {
    const std::uint32_t size = U32();
    if (!ok_ || size > in_.size() - at_) {
      ok_ = false;
      return {};
    }
    std::string out(in_.substr(at_, size));
    at_ += size;
    return out;
  }
  // A count of items that take at least one byte each.
  std::uint32_t Count() {
    const std::uint32_t n = U32();
    if (!ok_ || n > in_.size() - at_) {
      ok_ = false;
      return 0;
    }
    return n;
  }
  PodUid Uid() {
    PodUid uid;
    uid.hi = U64();
    uid.lo = U64();
    return uid;
  }
  std::vector<std::string> Strings() {
    std::vector<std::string> out;
    for (std::uint32_t n = Count(); n > 0 && ok_; --n) out.push_back(Text());
    return out;
  }
  std::vector<LabelRequirement> Labels() {
    std::vector<LabelRequirement> out;
    for (std::uint32_t n = Count(); n > 0 && ok_; --n) {
      LabelRequirement l;
      l.key = Text();
      l.value = Text();
      out.push_back(std::move(l));
    }
    return out;
  }
  RequestSpec Spec() {
    RequestSpec s;
    s.cpu_milli = I64();
    s.memory_mib = I64();
    s.gpus = I32();
    s.gpu_milli = I32();
    s.gpu_memory_mib = I64();
    s.gpu_memory_percent = I32();
    s.models = Strings();
    s.node_selector = Labels();
    s.tolerations = Strings();
    if (version_ < 2) return s;
    s.min_bandwidth_mbps = I32();
    s.bandwidth_required = U8() != 0;
    s.nics = I32();
    s.numa = Enum(topology::NumaPolicy::kSingleNumaNode);
    for (std::uint32_t k = Count(); k > 0 && ok_; --k) {
      ContainerSpec c;
      c.cpu_milli = I64();
      c.memory_mib = I64();
      c.gpus = I32();
      c.nics = I32();
      if (version_ >= 3) {
        c.gpu_milli = I32();
        c.gpu_memory_mib = I64();
        c.gpu_memory_percent = I32();
        c.compute_units = I32();
      }
      s.containers.push_back(c);
    }
    if (version_ < 3) return s;
    s.compute_units = I32();
    s.vendors = Strings();
    s.nouse_models = Strings();
    s.use_uuids = Strings();
    s.nouse_uuids = Strings();
    s.service_class = Enum(ServiceClass::kBestEffort);
    s.memory_ratio_percent = I32();
    s.qos = Text();
    s.mig_profile = Text();
    s.passthrough = U8() != 0;
    return s;
  }
  CardRules Rules() {
    CardRules r;
    r.model = Text();
    r.vendor = Text();
    r.compute_units = I32();
    r.memory_unit_mib = I64();
    for (std::uint32_t k = Count(); k > 0 && ok_; --k) r.memory_sizes.push_back(I64());
    r.compute_parts = I32();
    for (std::uint32_t k = Count(); k > 0 && ok_; --k) {
      SliceTemplate t;
      t.name = Text();
      t.memory_mib = I64();
      t.compute_milli = I32();
      r.templates.push_back(std::move(t));
    }
    r.equal_slices = U8() != 0;
    r.several_slices = U8() != 0;
    r.one_qos = U8() != 0;
    r.counts = Integers();
    r.grouping = Enum(CardGrouping::kWings);
    r.group_size = I32();
    r.mig_slots = I32();
    for (std::uint32_t k = Count(); k > 0 && ok_; --k) {
      MigProfile p;
      p.name = Text();
      p.memory_mib = I64();
      p.compute_milli = I32();
      p.size = I32();
      p.starts = Integers();
      p.media = U8() != 0;
      r.mig.push_back(std::move(p));
    }
    for (std::uint32_t k = Count(); k > 0 && ok_; --k) {
      const std::int32_t profile = I32();
      r.mig_layout.emplace_back(profile, I32());
    }
    return r;
  }
  std::vector<std::int32_t> Integers() {
    std::vector<std::int32_t> out;
    for (std::uint32_t n = Count(); n > 0 && ok_; --n) out.push_back(I32());
    return out;
  }
  NodeSpec Node() {
    NodeSpec n;
    n.name = Text();
    n.rank = I64();
    n.cpu_milli = I64();
    n.memory_mib = I64();
    n.max_pods = I32();
    n.numa_nodes = I32();
    n.labels = Labels();
    n.taints = Strings();
    for (std::uint32_t k = Count(); k > 0 && ok_; --k) {
      CardSpec c;
      c.uuid = Text();
      c.model = Text();
      c.memory_mib = I64();
      c.compute_milli = I32();
      c.slots = I32();
      c.numa = I32();
      c.mode = Enum(CardMode::kPassthrough);
      if (version_ >= 3) {
        c.memory_ratio_percent = I32();
        c.group = I32();
      }
      n.cards.push_back(std::move(c));
    }
    if (version_ < 2) return n;
    n.machine = Text();
    n.network = Path();
    n.numa_policy = Enum(topology::NumaPolicy::kSingleNumaNode);
    n.numa_scope = Enum(topology::NumaScope::kPod);
    for (std::uint32_t k = Count(); k > 0 && ok_; --k) {
      topology::NumaAmounts part;
      part.cpu = I32();
      part.memory = I32();
      n.numa.push_back(part);
    }
    return n;
  }
  topology::NetworkPath Path() {
    topology::NetworkPath path;
    for (std::uint32_t k = Count(); k > 0 && ok_; --k) {
      topology::DomainStep step;
      step.tier = I32();
      step.name = Text();
      path.push_back(std::move(step));
    }
    return path;
  }
  LevelWish Level() {
    LevelWish level;
    level.preferred = I32();
    level.required = I32();
    return level;
  }
  GangSpecRecord GangSpecOf() {
    GangSpecRecord r;
    r.uid = Uid();
    r.attempt = U32();
    r.job = U64();
    for (std::uint32_t k = Count(); k > 0 && ok_; --k) {
      GangTask t;
      t.name = Text();
      t.shape = ShapeId(U32());
      t.min = I32();
      t.max = I32();
      t.group = I32();
      r.spec.tasks.push_back(std::move(t));
    }
    for (std::uint32_t k = Count(); k > 0 && ok_; --k) {
      GangGroup g;
      g.name = Text();
      g.level = Level();
      r.spec.groups.push_back(std::move(g));
    }
    r.spec.level = Level();
    r.spec.layout = Enum(GangLayout::kSpread);
    for (std::uint32_t k = Count(); k > 0 && ok_; --k) r.pods.push_back(Uid());
    ok_ = ok_ && ValidateGang(r.spec, "journal").has_value() &&
          std::cmp_equal(r.pods.size(), r.spec.max_members());
    r.standing = StandingOf();
    if (version_ < 5) return r;
    r.nodes = Names();
    for (std::uint32_t k = Count(); k > 0 && ok_; --k) r.task_nodes.push_back(Names());
    ok_ = ok_ && (r.task_nodes.empty() || r.task_nodes.size() == r.spec.tasks.size());
    return r;
  }
  NodeNames Names() {
    NodeNames names;
    if (version_ < 5 || U8() == 0) return names;
    names.excluded = Strings();
    names.only = Strings();
    return names;
  }
  // Of an older version: none.
  Standing StandingOf() {
    Standing s;
    if (version_ < 3) return s;
    s.queue = Text();
    s.priority = I32();
    s.preemptible = U8() != 0;
    s.min_runtime_us = I64();
    s.restart_us = I64();
    s.budget = Text();
    s.sku = Text();
    return s;
  }
  AmountMap AmountsOf() {
    AmountMap amounts;
    for (std::uint32_t k = Count(); k > 0 && ok_; --k) {
      std::string name = Text();
      const std::int64_t amount = I64();
      amounts.emplace(std::move(name), amount);
    }
    return amounts;
  }
  QueueSpec Queue() {
    QueueSpec q;
    q.name = Text();
    q.parent = Text();
    q.weight = I32();
    q.priority = I32();
    q.guarantee = AmountsOf();
    q.deserved = AmountsOf();
    q.capacity = AmountsOf();
    q.reclaimable = U8() != 0;
    q.memory_ratio_percent = I32();
    for (std::uint32_t k = version_ >= 4 ? Count() : 0; k > 0 && ok_; --k) {
      SlotQuota slots;
      slots.cards = I32();
      slots.count = I64();
      slots.model = Text();
      q.slots.push_back(std::move(slots));
    }
    return q;
  }
  DisruptionBudgetSet Budget() {
    DisruptionBudgetSet b;
    b.name = Text();
    b.min_available = I32();
    b.max_unavailable = I32();
    b.expected = I32();
    return b;
  }
  std::shared_ptr<const NumaTake> Numa() {
    if (version_ < 2 || U8() == 0) return nullptr;
    NumaTake take;
    take.nodes = U8();
    take.nics = U32();
    for (std::size_t i = 0; i < take.cpu.size(); ++i) {
      take.cpu[i] = I32();
      take.memory[i] = I32();
    }
    for (std::uint32_t k = version_ >= 3 ? Count() : 0; k > 0 && ok_; --k) {
      SliceTake s;
      s.card = static_cast<std::int8_t>(U8());
      s.container = static_cast<std::int8_t>(U8());
      s.mig_profile = static_cast<std::int8_t>(U8());
      s.mig_start = static_cast<std::int8_t>(U8());
      const std::int32_t milli = I32();
      if (milli < 0 || milli > 2 * kWholeCard) ok_ = false;
      s.milli = static_cast<std::int16_t>(milli);
      s.memory = I32();
      s.whole = U8() != 0;
      take.slices.push_back(s);
    }
    return std::make_shared<const NumaTake>(take);
  }
  // An enumerator that is at most `last`.
  template <class E>
  E Enum(E last) {
    const std::uint8_t v = U8();
    if (v > static_cast<std::uint8_t>(last)) ok_ = false;
    return static_cast<E>(v);
  }
  void Refuse() { ok_ = false; }

 private:
  std::uint64_t Little(std::size_t bytes) {
    if (!ok_ || bytes > in_.size() - at_) {
      ok_ = false;
      return 0;
    }
    std::uint64_t v = 0;
    for (std::size_t i = 0; i < bytes; ++i) {
      v |= std::uint64_t{static_cast<unsigned char>(in_[at_ + i])} << (8 * i);
    }
    at_ += bytes;
    return v;
  }
  std::string_view in_;
  std::uint32_t version_;
  std::size_t at_ = 0;
  bool ok_ = true;
};

}  // namespace basalt
