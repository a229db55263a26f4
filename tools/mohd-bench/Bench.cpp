// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The loop over points: build, verify, time, print.
#include "Bench.h"

#include "Failure.h"
#include "OpSubject.h"

#include "mohd/Compiler/Compiler.h"

#include <csignal>

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

class Bench {
public:
  Bench(const Options &options, const std::vector<std::string> &command)
      : options_(options), machine_(options.coldBytes, options.peakSeconds),
        output_(options.format, describeRun(options, command)) {}

  void run() {
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

private:
  void runPoint(const Point &point);
  /// The compiled op, which the slot keeps until another one is asked for.
  Kernel &kernelOf(std::unique_ptr<Kernel> &slot, const Op &op, const Point &point);
  Row makeRow(const Point &point, const Subject &subject, const Verified &verified,
              const Measured &measured, size_t place) const;
  void say(const std::string &text) const {
    if (!options_.quiet)
      note(text);
  }

  const Options &options_;
  Machine machine_;
  Output output_;
  std::unique_ptr<Kernel> kernel_, denseKernel_;
};

Kernel &Bench::kernelOf(std::unique_ptr<Kernel> &slot, const Op &op, const Point &point) {
  if (slot && slot->key() == op.key())
    return *slot;
  slot.reset(); // its copies first
  slot = std::make_unique<Kernel>(op, point.weightType, options_.target);
  char seconds[32];
  std::snprintf(seconds, sizeof(seconds), "%.3f", slot->compileSeconds());
  say("compiled " + point.what + " in " + seconds + " s");
  return *slot;
}

Row Bench::makeRow(const Point &point, const Subject &subject, const Verified &verified,
                   const Measured &measured, size_t place) const {
  Row row;
  row.point = point;
  row.work = subject.work();
  row.verified = verified;
  row.seconds = measured.seconds[place];
  row.peak = measured.peak;
  row.bandwidth = measured.bandwidth;
  row.warmup = measured.warmup;
  return row;
}

void Bench::runPoint(const Point &point) {
  std::unique_ptr<Op> op = makeOp(point);
  std::unique_ptr<Op> dense = options_.baseline ? op->dense() : nullptr;
  bool hasRouting =
      point.what == "op:spmm" || point.what == "op:sddmm" || point.what == "op:fusion";
  TokenRouting routing{point.groups, point.tokens, {}};
  if (hasRouting)
    routing = findRouting(point.routing, point.groups, point.tokens, point.seed);
  size_t cold = point.tokens <= options_.coldTokens ? options_.coldBytes : 0;
  Kernel &kernel = kernelOf(kernel_, *op, point);
  OpSubject subject(*op, kernel, routing, point.threads, cold, options_.memoryBytes);
  std::vector<Subject *> subjects{&subject};
  Verified verified = subject.verify(), denseVerified;
  std::unique_ptr<OpSubject> denseSubject;
  if (dense) {
    Kernel &denseKernel = kernelOf(denseKernel_, *dense, point);
    denseSubject = std::make_unique<OpSubject>(*dense, denseKernel, routing, point.threads, cold,
                                               options_.memoryBytes);
    denseVerified = denseSubject->verify();
    subjects.push_back(denseSubject.get());
  }
  Measured measured = measure(subjects, machine_, point.threads, options_.measure);
  if (measured.seconds.back().empty()) // interrupted before the first run
    return;
  Row row = makeRow(point, subject, verified, measured, 0);
  row.unionGroups = hasRouting ? static_cast<int64_t>(routing.unionGroups().size()) : 0;
  row.coverage = routing.coverage();
  row.copies = subject.numCopies();
  row.compileSeconds = kernel.compileSeconds();
  if (!dense)
    return output_.add(row);
  Row denseRow = makeRow(point, *denseSubject, denseVerified, measured, 1);
  denseRow.isDense = true;
  denseRow.copies = denseSubject->numCopies();
  denseRow.compileSeconds = denseKernel_->compileSeconds();
  row.denseSeconds = denseRow.median();
  output_.add(row);
  output_.add(denseRow);
}

} // namespace

void runBenchmarks(const Options &options, const std::vector<std::string> &command) {
  Bench(options, command).run();
}

} // namespace mohdbench
