// Needs sm_90.
llvm.func @kernel() attributes {tile.kernel} {
  tile.tma_store_commit
  llvm.return
}
