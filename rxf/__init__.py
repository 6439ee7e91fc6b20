"""What ``fairseq-train --user-dir rxf`` imports: the fixes, then every name it registers."""

from rxf import fairseq_fixes
from rxf.errors import install_excepthook

install_excepthook()
fairseq_fixes.apply_all()
