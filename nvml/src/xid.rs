//! XIDs: what the driver tells of a GPU's troubles, and which of them are the GPU's own.
//!
//! Source: NVIDIA, "GPU Debug Guidelines" and "XID Errors" (docs.nvidia.com/deploy/xid-errors). Those that a
//! program brings upon itself leave the GPU fit for the next one.

/// Number, what it means, whether the application alone is to blame.
const XIDS: &[(u64, &str, bool)] = &[
    (13, "graphics engine exception", true),
    (31, "memory page fault", true),
    (43, "channel stopped by its program", true),
    (45, "work was taken off the GPU", true),
    (48, "uncorrected ECC error", false),
    (61, "internal micro-controller breakpoint", false),
    (62, "internal micro-controller halt", false),
    (63, "row remapping or page retirement recorded", false),
    (64, "row remapping or page retirement failed", false),
    (66, "illegal access by a driver", true),
    (68, "video processor exception", true),
    (69, "graphics engine class error", true),
    (74, "NVLink error", false),
    (79, "fell off the bus", false),
    (92, "many corrected ECC errors", false),
    (94, "uncorrected error, contained in one program", true),
    (95, "uncorrected error, not contained", false),
    (109, "context switch took too long", true),
    (119, "the GPU's system processor does not answer", false),
    (120, "the GPU's system processor failed", false),
    (140, "unrecovered ECC error", false),
    (143, "the GPU could not be initialised", false),
];

fn find(xid: u64) -> Option<&'static (u64, &'static str, bool)> {
    XIDS.iter().find(|(number, ..)| *number == xid)
}

/// What an XID means, in words.
pub(crate) fn meaning(xid: u64) -> &'static str {
    find(xid).map_or("see NVIDIA's catalogue of XIDs", |(_, meaning, _)| meaning)
}

/// Whether an XID says that the GPU itself is not fit. One that nobody knows is taken for such.
pub fn is_of_gpu(xid: u64) -> bool {
    find(xid).is_none_or(|(.., is_of_application)| !is_of_application)
}
