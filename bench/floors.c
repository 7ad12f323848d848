/*
 * Floors: what the hardware needs to touch, once and in address order, exactly the bytes of foliosim's layout that an
 * operation must read or write.  No engine code is called.  See README.md of this folder.
 *
 * The bytes per unit that a floor touches are in floors.py, which prints them.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* the record of a 4 KiB frame, as in foliosim/_core/types.pxd */
struct page {
	uint32_t flags;
	int32_t mapcount, refcount;
	uint32_t next, prev, mapping, index;
};

/* what pages 1 and 2 of a large folio hold in the same 28 bytes */
struct tail1 {
	uint32_t flags;
	int32_t mapcount, large_mapcount, mm_mapcount[2];
	uint32_t mm_id[2];
};

struct tail2 {
	uint32_t flags;
	int32_t mapcount, nr_pages_mapped, pincount, entire_mapcount;
	uint32_t deferred_next, deferred_prev;
};

#define RW 2ULL
#define ACCESSED 32ULL
#define DIRTY 64ULL
#define PSE 128ULL
#define SAVED_DIRTY (1ULL << 58)
#define PFN_MASK 0x000ffffffffff000ULL
#define EXCLUSIVE 0x10000U
#define LOCKED 0xc000U
#define LRU 0x800U
#define REFERENCED 0x100U
#define ENTRY 0x8000000000000067ULL
#define PER_TABLE 512
#define PER_FOLIO 512
#define HEADS 4 /* records of a 2 MiB folio while its tails are implicit */
#define PIN 1024

size_t floor_record_bytes(void) { return sizeof(struct page); }

/* zeroed host memory, touched by nobody yet */
void *floor_alloc(size_t size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return at == MAP_FAILED ? NULL : at;
}

void floor_free(void *at, size_t size) { munmap(at, size); }

/* ---- pages of their own, mapped by PTEs ---- */

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

/* mprotect to read-only: the entry, whose dirty bit moves */
void floor_protect(uint64_t *pte, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t e = pte[i];

		pte[i] = (e & ~(RW | DIRTY)) | (e & DIRTY) << 52;
	}
}

/* mprotect back: the entry, and the page's exclusive flag */
void floor_unprotect(uint64_t *pte, const struct page *pages, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t e = pte[i], w = (e & ~SAVED_DIRTY) | RW | (e & SAVED_DIRTY) >> 52;

		pte[i] = pages[(e & PFN_MASK) >> 12].flags & EXCLUSIVE ? w : e;
	}
}

/* munmap and MADV_DONTNEED: entry and record go, a block of the free list per 1024 pages, a table per 512 */
void floor_zap(uint64_t *pte, struct page *pages, struct page *tables, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct page *page = pages + ((pte[i] & PFN_MASK) >> 12);

		pte[i] = 0;
		if (page->mapcount == 1 && page->refcount == 1 && page->next != (uint32_t)i)
			page->flags = 0;
		if (i % 1024 == 0) {
			page->next = (uint32_t)i - 1024;
			page->prev = (uint32_t)i + 1024;
		}
		if (i % PER_TABLE == 0) {
			tables[i / PER_TABLE].refcount = 0;
			tables[i / PER_TABLE].next = (uint32_t)i;
		}
	}
}

/* mlock: the entry read; the record's flags, its place on the list, its mlock count */
void floor_lock(const uint64_t *pte, struct page *pages, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct page *page = pages + ((pte[i] & PFN_MASK) >> 12);

		if (page->next == (uint32_t)i)
			continue;
		page->flags |= LOCKED | REFERENCED;
		page->prev = 1;
	}
}

/* munlock: flags and both list links */
void floor_unlock(const uint64_t *pte, struct page *pages, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct page *page = pages + ((pte[i] & PFN_MASK) >> 12);

		if (page->prev != 1)
			continue;
		page->flags &= ~LOCKED;
		page->next = (uint32_t)i - 1;
		page->prev = (uint32_t)i + 1;
	}
}

/* pin_user_pages: the entry read, the page's flags and references, the list of frames */
void floor_pin(const uint64_t *pte, struct page *pages, uint32_t *frames, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint32_t pfn = (uint32_t)((pte[i] & PFN_MASK) >> 12);

		pages[pfn].flags |= REFERENCED;
		pages[pfn].refcount += PIN;
		frames[i] = pfn;
	}
}

void floor_unpin(struct page *pages, const uint32_t *frames, size_t n)
{
	for (size_t i = 0; i < n; i++)
		pages[frames[i]].refcount -= PIN;
}

/* ---- large folios mapped by PTEs ---- */

void floor_populate_large(uint64_t *pte, struct page *pages, size_t n, int order)
{
	size_t nr = (size_t)1 << order;

	floor_populate(pte, pages, n);
	for (size_t i = 0; i < n; i += nr) {
		struct tail1 *one = (struct tail1 *)(pages + i + 1);

		pages[i].refcount = (int32_t)nr;
		one->large_mapcount = one->mm_mapcount[0] = (int32_t)nr;
		one->mm_mapcount[1] = 0;
		one->mm_id[0] = 1;
		one->mm_id[1] = 0;
	}
}

/* fork: the entries; the folio's counts, its exclusive flag and the owner slots once for all pages, which stay alike */
void floor_fork_large(uint64_t *pte, uint64_t *child, struct page *pages, size_t n, int order)
{
	size_t nr = (size_t)1 << order;

	for (size_t i = 0; i < n; i += nr) {
		struct page *head = pages + ((pte[i] & PFN_MASK) >> 12);
		struct tail1 *one = (struct tail1 *)(head + 1);

		for (size_t k = 0; k < nr; k++) {
			uint64_t e = pte[i + k] & ~RW;

			pte[i + k] = e;
			child[i + k] = e & ~ACCESSED;
		}
		head->flags &= ~EXCLUSIVE;
		head->mapcount++;
		head->refcount += (int32_t)nr;
		one->large_mapcount += (int32_t)nr;
		one->mm_mapcount[1] += (int32_t)nr;
		one->mm_id[1] = 2 | 1U << 31;
	}
}

/* ---- 2 MiB folios mapped by PMDs: n folios, their four head records, the deposited tables' records ---- */

void floor_populate_huge(uint64_t *pmd, struct page *heads, struct page *tables, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct page *head = heads + HEADS * i;
		uint32_t last = (uint32_t)i - 1, next = (uint32_t)i + 1;

		pmd[i] = ENTRY | PSE | (uint64_t)i << 21;
		head[0] = (struct page){ 0x12239 | EXCLUSIVE, 0, 1, last, next, 7, (uint32_t)i };
		*(struct tail1 *)(head + 1) = (struct tail1){ 0x49, 0, 1, { 1, 0 }, { 1, 0 } };
		*(struct tail2 *)(head + 2) = (struct tail2){ 0x49, 0, 0x800000, 0, 1, last, next };
		head[3].flags = 0x49;
		head[3].mapcount = 0;
		tables[i] = (struct page){ 0x20, 0, 1, last, 0, 0, 0 };
	}
}

void floor_fork_huge(uint64_t *pmd, uint64_t *child, struct page *heads, struct page *tables, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t e = pmd[i] & ~RW;
		struct page *head = heads + HEADS * ((e & PFN_MASK) >> 21);
		struct tail1 *one = (struct tail1 *)(head + 1);

		pmd[i] = e;
		child[i] = e & ~ACCESSED;
		head->flags &= ~EXCLUSIVE;
		head->refcount++;
		one->large_mapcount++;
		one->mm_mapcount[1]++;
		one->mm_id[1] = 2 | 1U << 31;
		((struct tail2 *)(head + 2))->entire_mapcount++;
		tables[i] = (struct page){ 0x20, 0, 1, (uint32_t)i - 1, 0, 0, 0 };
	}
}

void floor_unprotect_huge(uint64_t *pmd, const struct page *heads, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t e = pmd[i], w = (e & ~SAVED_DIRTY) | RW | (e & SAVED_DIRTY) >> 52;

		pmd[i] = heads[HEADS * ((e & PFN_MASK) >> 21)].flags & EXCLUSIVE ? w : e;
	}
}

/* the entry, the counts, the links on the LRU list, on the deferred queue and on the free list, the table */
void floor_zap_huge(uint64_t *pmd, struct page *heads, struct page *tables, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct page *head = heads + HEADS * ((pmd[i] & PFN_MASK) >> 21);
		struct tail1 *one = (struct tail1 *)(head + 1);
		struct tail2 *two = (struct tail2 *)(head + 2);

		pmd[i] = 0;
		one->large_mapcount--;
		one->mm_mapcount[0]--;
		one->mm_id[0] = 0;
		two->entire_mapcount--;
		two->nr_pages_mapped -= 0x800000;
		two->deferred_next = two->deferred_prev = ~0U;
		head->refcount--;
		head->flags = 0;
		head->next = (uint32_t)i - 1;
		head->prev = (uint32_t)i + 1;
		tables[i].refcount = 0;
		tables[i].next = (uint32_t)i;
		tables[i].prev = ~0U;
	}
}

void floor_lock_huge(const uint64_t *pmd, struct page *heads, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct page *head = heads + HEADS * ((pmd[i] & PFN_MASK) >> 21);

		if (head->next == (uint32_t)i)
			continue;
		head->flags |= LOCKED | REFERENCED;
		head->prev = 1;
	}
}

void floor_unlock_huge(const uint64_t *pmd, struct page *heads, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct page *head = heads + HEADS * ((pmd[i] & PFN_MASK) >> 21);

		head->flags &= ~LOCKED;
		head->next = (uint32_t)i - 1;
		head->prev = (uint32_t)i + 1;
	}
}

/* pins of whole folios: entry and head once, the list of frames page by page */
void floor_pin_huge(const uint64_t *pmd, struct page *heads, uint32_t *frames, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint32_t pfn = (uint32_t)((pmd[i] & PFN_MASK) >> 12);
		struct page *head = heads + HEADS * (pfn >> 9);

		head->flags |= REFERENCED;
		head->refcount += PER_FOLIO;
		((struct tail2 *)(head + 2))->pincount += PER_FOLIO;
		for (uint32_t k = 0; k < PER_FOLIO; k++)
			frames[i * PER_FOLIO + k] = pfn + k;
	}
}

void floor_unpin_huge(struct page *heads, const uint32_t *frames, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint32_t pfn = frames[i * PER_FOLIO], run = 1;
		struct page *head = heads + HEADS * (pfn >> 9);

		for (uint32_t k = 1; k < PER_FOLIO; k++)
			run += frames[i * PER_FOLIO + k] == pfn + k;
		head->refcount -= (int32_t)run;
		((struct tail2 *)(head + 2))->pincount -= (int32_t)run;
	}
}

/* ---- splits: n folios of 2 MiB, with tables of 512 entries each ---- */

/* of the PMD: 512 entries, the PMD, and the counts that the folio's heads tell for all its pages */
void floor_split_pmd(uint64_t *pmd, uint64_t *pte, struct page *heads, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct page *head = heads + HEADS * i;
		struct tail1 *one = (struct tail1 *)(head + 1);
		struct tail2 *two = (struct tail2 *)(head + 2);
		uint64_t *table = pte + i * PER_TABLE;

		for (size_t k = 0; k < PER_FOLIO; k++)
			table[k] = ENTRY | (uint64_t)(i * PER_FOLIO + k) << 12;
		pmd[i] = ENTRY | (uint64_t)i << 12;
		head->flags |= 1;
		head->mapcount++;
		head->refcount += PER_FOLIO - 1;
		one->large_mapcount += PER_FOLIO - 1;
		one->mm_mapcount[0] += PER_FOLIO - 1;
		two->entire_mapcount--;
		two->nr_pages_mapped += PER_FOLIO;
	}
}

/* to pieces of 2^order pages: 512 entries, 512 flags, and the other words of each piece's head */
void floor_split_folio(uint64_t *pte, struct page *pages, size_t n, int order)
{
	uint32_t nr = 1U << order;

	for (size_t i = 0; i < n; i++) {
		struct page *page = pages + i * PER_FOLIO;
		uint64_t *table = pte + i * PER_TABLE;

		for (uint32_t at = 0; at < PER_FOLIO; at += nr) {
			uint32_t pfn = (uint32_t)i * PER_FOLIO + at;

			page[at].mapcount = 1;
			page[at].refcount = (int32_t)nr;
			page[at].next = pfn - nr;
			page[at].prev = pfn + nr;
			page[at].mapping = 7;
			page[at].index = pfn;
			for (uint32_t k = 0; k < nr; k++) {
				table[at + k] = ENTRY | (uint64_t)(pfn + k) << 12;
				page[at + k].flags = 0x30 | EXCLUSIVE;
			}
		}
	}
}

/* ---- walks ---- */

struct walked {
	uint64_t pa;
	uint32_t error;
	int8_t level;
	uint8_t rights;
};

#define WAYS 16

/* tables of n pages in a row from address 0, in physical memory at base; returns the bytes of tables */
size_t floor_build_tables(uint64_t *base, size_t n)
{
	size_t count[4], first[4], at = 0;

	for (int level = 3; level >= 0; level--) {
		size_t entries = n;

		for (int k = 0; k < level; k++)
			entries = (entries + 511) / 512;
		count[level] = entries;
		first[level] = at;
		at += (entries + 511) / 512 * 512;
	}
	for (int level = 3; level >= 0; level--)
		for (size_t i = 0; i < count[level]; i++)
			base[first[level] + i] = level ? (first[level - 1] + i * 512) * 8 | 0x67 : ENTRY | (uint64_t)i << 12;
	return at * 8;
}

/* 16 walks at a time, level by level, the next level's entries fetched ahead */
void floor_walk(const uint8_t *phys, const uint64_t *va, struct walked *out, size_t n)
{
	for (size_t at = 0; at < n; at += WAYS) {
		uint64_t e[WAYS] = { 0 };

		for (int shift = 39; shift >= 12; shift -= 9) {
			const uint64_t *entry[WAYS];

			for (int k = 0; k < WAYS; k++) {
				entry[k] = (const uint64_t *)(phys + (e[k] & PFN_MASK)) + ((va[at + k] >> shift) & 511);
				__builtin_prefetch(entry[k]);
			}
			for (int k = 0; k < WAYS; k++)
				e[k] = *entry[k];
		}
		for (int k = 0; k < WAYS; k++) {
			struct walked *w = out + at + k;

			w->pa = e[k] & 1 ? (e[k] & PFN_MASK) | (va[at + k] & 4095) : 0;
			w->error = 0;
			w->level = 0;
			w->rights = 7;
		}
	}
}

/* n addresses asked of another's MMU, Unicorn's uc_vmem_translate; how many failed */
size_t floor_translate(int (*translate)(void *uc, uint64_t va, int access, uint64_t *pa), void *uc, const uint64_t *va,
		       uint64_t *pa, size_t n)
{
	size_t failed = 0;

	for (size_t i = 0; i < n; i++)
		failed += translate(uc, va[i], 1, pa + i) != 0;
	return failed;
}

/* ---- areas: the blocked sorted array of the reference, 64 ends a block ---- */

#define BLOCK 64

struct block {
	int n;
	uint64_t end[BLOCK];
	void *vma[BLOCK];
};

struct areas {
	int n, cap;
	uint64_t *top;
	struct block **blocks;
};

static int upper(const uint64_t *ends, int n, uint64_t key)
{
	int base = 0;

	while (n > 1) {
		int half = n / 2;

		base += (ends[base + half - 1] <= key) * half;
		n -= half;
	}
	return base + (ends[base] <= key);
}

/* n areas of `size` bytes, one every `stride` bytes from `first` on, in blocks that are half full */
struct areas *floor_areas(size_t n, uint64_t first, uint64_t size, uint64_t stride)
{
	struct areas *a = calloc(1, sizeof(*a));
	int fill = BLOCK / 2, blocks = (int)((n + fill - 1) / fill);

	a->cap = blocks + 1024;
	a->top = calloc(a->cap, sizeof(*a->top));
	a->blocks = calloc(a->cap, sizeof(*a->blocks));
	for (size_t i = 0; i < n; i++) {
		if (i % fill == 0)
			a->blocks[a->n++] = calloc(1, sizeof(struct block));
		struct block *b = a->blocks[a->n - 1];
		b->end[b->n] = first + i * stride + size;
		b->vma[b->n++] = (void *)(i + 1);
		a->top[a->n - 1] = b->end[b->n - 1];
	}
	return a;
}

void floor_areas_free(struct areas *a)
{
	for (int i = 0; i < a->n; i++)
		free(a->blocks[i]);
	free(a->top);
	free(a->blocks);
	free(a);
}

static void insert(struct areas *a, uint64_t end, void *vma)
{
	int at = upper(a->top, a->n, end), i;
	struct block *b = a->blocks[at];

	if (b->n == BLOCK) {
		struct block *more = malloc(sizeof(*more));

		memmove(a->blocks + at + 1, a->blocks + at, (a->n - at) * sizeof(*a->blocks));
		memmove(a->top + at + 1, a->top + at, (a->n - at) * sizeof(*a->top));
		a->n++;
		more->n = b->n = BLOCK / 2;
		memcpy(more->end, b->end + BLOCK / 2, sizeof(b->end) / 2);
		memcpy(more->vma, b->vma + BLOCK / 2, sizeof(b->vma) / 2);
		a->blocks[at + 1] = more;
		a->top[at] = b->end[BLOCK / 2 - 1];
		if (a->top[at] <= end)
			b = a->blocks[++at];
	}
	i = upper(b->end, b->n, end);
	memmove(b->end + i + 1, b->end + i, (b->n - i) * sizeof(*b->end));
	memmove(b->vma + i + 1, b->vma + i, (b->n - i) * sizeof(*b->vma));
	b->end[i] = end;
	b->vma[i] = vma;
	b->n++;
	a->top[at] = b->end[b->n - 1];
}

static void erase(struct areas *a, uint64_t end)
{
	int at = upper(a->top, a->n, end - 1), i;
	struct block *b = a->blocks[at];

	i = upper(b->end, b->n, end - 1);
	memmove(b->end + i, b->end + i + 1, (b->n - i - 1) * sizeof(*b->end));
	memmove(b->vma + i, b->vma + i + 1, (b->n - i - 1) * sizeof(*b->vma));
	b->n--;
	a->top[at] = b->end[b->n - 1];
}

uint64_t floor_find(struct areas *a, const uint64_t *addr, size_t n)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < n; i++) {
		int at = upper(a->top, a->n, addr[i]);

		sum += (uint64_t)a->blocks[at]->vma[upper(a->blocks[at]->end, a->blocks[at]->n, addr[i])];
	}
	return sum;
}

/* cut a page out of the middle of an area, then put the three together again */
void floor_split_merge(struct areas *a, const uint64_t *addr, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		insert(a, addr[i], (void *)1);
		insert(a, addr[i] + 4096, (void *)2);
		erase(a, addr[i] + 4096);
		erase(a, addr[i]);
	}
}
