// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// An op, compiled, and a call of it.
#ifndef MOHD_TOOLS_MOHD_BENCH_OPSUBJECT_H
#define MOHD_TOOLS_MOHD_BENCH_OPSUBJECT_H

#include "Call.h"
#include "Subject.h"

namespace mohdbench {

/// A compiled op and its weights; serves any number of tokens, routings and threads.
class Kernel {
public:
  Kernel(std::string key, const Op &op, const Point &point, const std::string &target);

  const std::string &key() const { return key_; }
  Program &program() { return *program_; }
  /// As expectedRow() wants them.
  const std::map<std::string, std::vector<float>> &logicalWeights() const { return logical_; }

private:
  std::string key_;
  std::map<std::string, std::vector<float>> logical_;
  std::unique_ptr<Program> program_;
};

/// One call of an op.
class OpSubject final : public Subject {
public:
  OpSubject(const Op &op, Kernel &kernel, const TokenRouting &routing, uint32_t threads,
            const Cold &cold);

  Verified verify() override;
  void run() override { call_.run(); }
  Work work() const override { return op_.work(routing_); }
  size_t numCopies() const override { return call_.numCopies(); }
  double compileSeconds() const override { return kernel_.program().compileSeconds(); }

private:
  std::vector<double> actualRow(int64_t token) const;

  const Op &op_;
  Kernel &kernel_;
  TokenRouting routing_;
  Call call_;
};

} // namespace mohdbench

#endif // MOHD_TOOLS_MOHD_BENCH_OPSUBJECT_H
