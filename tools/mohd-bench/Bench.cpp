// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The loop over points: build, verify, time, print.
#include "Bench.h"

#include "Failure.h"
#include "ModelSubject.h"
#include "OpSubject.h"

#include "mohd/Compiler/Compiler.h"

#include <csignal>
#include <cstdio>

using namespace mohdrt;
using namespace mohdtool;

namespace mohdbench {
namespace {

JsonValue describeRun(const Options &options, const std::vector<std::string> &command) {
  JsonValue about = JsonValue::object(), words = JsonValue::array();
  for (const std::string &word : command)
    words.push(word);
  about.set("command", words);
  about.set("version", mlir::mohd::kVersion);
  about.set("target", options.target);
  about.set("machine", describeMachine());
  about.set("cold_bytes", static_cast<int64_t>(options.coldBytes));
  return about;
}

/// Subjects of one point: the case, and its dense baseline if it has one. What is compiled stays until another thing is asked for.
class Bench {
public:
  Bench(const Options &options, const std::vector<std::string> &command)
      : options_(options), machine_(options.coldBytes, options.peakSeconds),
        output_(options.format, describeRun(options, command)) {}

  void run();

private:
  void runPoint(const Point &point);
  void runOp(const Point &point);
  void runModel(const Point &point);
  void runBundle(Point point);
  Kernel &kernelOf(std::unique_ptr<Kernel> &slot, const Op &op, const Point &point);
  Model &modelOf(std::unique_ptr<Model> &slot, const Point &point, bool dense);
  /// Verifies, times and prints; the second subject, if there is one, is the dense baseline.
  void runSubjects(Row row, const std::vector<Subject *> &subjects);
  Cold coldOf(const Point &point) const {
    bool isCold = point.tokens <= options_.coldTokens;
    return {isCold ? options_.coldBytes : 0, options_.memoryBytes};
  }
  void sayCompiled(const std::string &what, double seconds) const;

  const Options &options_;
  Machine machine_;
  Output output_;
  std::unique_ptr<Kernel> kernel_, denseKernel_;
  std::unique_ptr<Model> model_, denseModel_;
};

bool usesRouting(const Point &point) {
  return point.what == "op:spmm" || point.what == "op:sddmm" || point.what == "op:fusion";
}

void Bench::run() {
  watchInterrupts();
  try {
    for (const Point &point : options_.points) {
      if (interrupted())
        break;
      runPoint(point);
    }
  } catch (const Failure &) {
    output_.finish();
    throw;
  }
  output_.finish();
  if (interrupted())
    ::raise(SIGINT); // as the caller expects of a process that was interrupted
}

void Bench::sayCompiled(const std::string &what, double seconds) const {
  char text[32];
  std::snprintf(text, sizeof(text), "%.3f", seconds);
  if (!options_.quiet)
    note("compiled " + what + " in " + text + " s");
}

Kernel &Bench::kernelOf(std::unique_ptr<Kernel> &slot, const Op &op, const Point &point) {
  std::string key = op.key() + " " + std::to_string(point.gatherTokens);
  if (slot && slot->key() == key)
    return *slot;
  slot.reset(); // its copies first
  slot = std::make_unique<Kernel>(key, op, point, options_.target);
  sayCompiled(point.what, slot->program().compileSeconds());
  return *slot;
}

Model &Bench::modelOf(std::unique_ptr<Model> &slot, const Point &point, bool dense) {
  mlir::mohd::ModelConfig config = configOf(point, dense);
  std::string key = std::string(dtypeName(point.weightType)) + mlir::mohd::writeConfig(config);
  if (slot && slot->key() == key)
    return *slot;
  slot.reset();
  slot =
      std::make_unique<Model>(key, config, point.weightType, options_.target, options_.memoryBytes);
  sayCompiled(point.model, slot->program().compileSeconds());
  return *slot;
}

void Bench::runSubjects(Row row, const std::vector<Subject *> &subjects) {
  std::vector<Verified> verified;
  for (Subject *subject : subjects)
    verified.push_back(subject->verify());
  Measured measured = measure(subjects, machine_, row.point.threads, options_.measure);
  if (measured.seconds.back().empty()) // interrupted before the first run
    return;
  std::vector<Row> rows(subjects.size(), row);
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i].isDense = i > 0;
    rows[i].unionGroups = i > 0 ? 0 : row.unionGroups;
    rows[i].work = subjects[i]->work();
    rows[i].verified = verified[i];
    rows[i].copies = subjects[i]->numCopies();
    rows[i].compileSeconds = subjects[i]->compileSeconds();
    rows[i].seconds = measured.seconds[i];
    rows[i].peak = measured.peak;
    rows[i].bandwidth = measured.bandwidth;
    rows[i].warmup = measured.warmup;
  }
  if (rows.size() > 1)
    rows[0].denseSeconds = rows[1].median();
  for (const Row &done : rows)
    output_.add(done);
}

void Bench::runOp(const Point &point) {
  std::unique_ptr<Op> op = makeOp(point);
  std::unique_ptr<Op> dense = options_.baseline ? op->dense() : nullptr;
  TokenRouting routing{point.groups, point.tokens, {}};
  Row row;
  row.point = point;
  if (usesRouting(point)) {
    routing = findRouting(point.routing, point.groups, point.tokens, point.seed);
    row.unionGroups = static_cast<int64_t>(routing.unionGroups().size());
    row.coverage = routing.coverage();
  }
  OpSubject subject(*op, kernelOf(kernel_, *op, point), routing, point.threads, coldOf(point));
  std::vector<Subject *> subjects{&subject};
  std::unique_ptr<OpSubject> denseSubject;
  if (dense) {
    Kernel &kernel = kernelOf(denseKernel_, *dense, point);
    denseSubject =
        std::make_unique<OpSubject>(*dense, kernel, routing, point.threads, coldOf(point));
    subjects.push_back(denseSubject.get());
  }
  runSubjects(row, subjects);
}

void Bench::runModel(const Point &point) {
  Row row;
  row.point = point;
  Model &model = modelOf(model_, point, false);
  ModelSubject subject(model, point, coldOf(point));
  std::vector<Subject *> subjects{&subject};
  std::unique_ptr<ModelSubject> denseSubject;
  if (options_.baseline && model.config().routing) {
    denseSubject =
        std::make_unique<ModelSubject>(modelOf(denseModel_, point, true), point, coldOf(point));
    subjects.push_back(denseSubject.get());
  }
  runSubjects(row, subjects);
}

void Bench::runBundle(Point point) {
  BundleSubject subject(point);
  Row row;
  row.point = point;
  row.point.weightType = subject.weightType();
  runSubjects(row, {&subject});
}

void Bench::runPoint(const Point &point) {
  if (point.model.empty())
    return runOp(point);
  return point.isBundle ? runBundle(point) : runModel(point);
}

} // namespace

void runBenchmarks(const Options &options, const std::vector<std::string> &command) {
  Bench(options, command).run();
}

} // namespace mohdbench
