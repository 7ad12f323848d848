/*
 * Floors: what the hardware needs to touch, once and in address order, exactly the bytes of foliosim's layout that an
 * operation must read or write.  No engine code is called.  See README.md of this folder.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>

/* the record of a 4 KiB frame, as in foliosim/_core/types.pxd */
struct page {
	uint32_t flags;
	int32_t mapcount, refcount;
	uint32_t next, prev, mapping, index;
};

#define RW 2ULL
#define ACCESSED 32ULL
#define EXCLUSIVE 0x10000U
#define ENTRY 0x8000000000000067ULL

size_t floor_record_bytes(void) { return sizeof(struct page); }

/* zeroed host memory, touched by nobody yet */
void *floor_alloc(size_t size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return at == MAP_FAILED ? NULL : at;
}

void floor_free(void *at, size_t size) { munmap(at, size); }

/* populate: one entry and one record per page */
void floor_populate(uint64_t *pte, struct page *pages, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		pte[i] = ENTRY | (uint64_t)i << 12;
		pages[i] = (struct page){ 0x12230 | EXCLUSIVE, 1, 1, (uint32_t)i - 1, (uint32_t)i + 1, 7, (uint32_t)i };
	}
}

/* fork: parent's entry read-only, child's entry written, the page shared and counted once more */
void floor_fork(uint64_t *pte, uint64_t *child, struct page *pages, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t e = pte[i] & ~RW;
		struct page *page = pages + ((e >> 12) & 0xffffffffffULL);

		pte[i] = e;
		child[i] = e & ~ACCESSED;
		page->flags &= ~EXCLUSIVE;
		page->mapcount++;
		page->refcount++;
	}
}
