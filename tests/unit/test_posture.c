#include "posture.h"
#include "privs.h"
#include "unit.h"
#include <linux/capability.h>
#include <sys/syscall.h>

enum { SERVICE = 64901, ACCOUNT = 64902 };

static const struct cell {
    bool can_drop, has_accounts, unconfined;
    enum boot_verdict verdict;
} cells[] = {
    {true, true, false, BOOT_ENFORCE},          {true, false, false, BOOT_REFUSE_NO_ACCOUNT},
    {false, true, false, BOOT_REFUSE_NO_POWER}, {false, false, false, BOOT_UNCONFINED},
    {true, true, true, BOOT_UNCONFINED_LOUD},   {true, false, true, BOOT_UNCONFINED_LOUD},
    {false, true, true, BOOT_UNCONFINED_LOUD},  {false, false, true, BOOT_UNCONFINED_LOUD},
};

static void test_posture_verdict__every_cell(void **s)
{
    unsigned seen = 0;
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(cells); i++) {
        const struct cell *c = &cells[i];
        enum boot_verdict v = posture_verdict(c->can_drop, c->has_accounts, c->unconfined);
        if (v != c->verdict)
            fail_msg("drop %d, accounts %d, unconfined %d: %d", c->can_drop, c->has_accounts, c->unconfined,
                     v);
        seen |= 1u << (c->can_drop | c->has_accounts << 1 | c->unconfined << 2);
    }
    assert_int_equal(seen, 0xff); // the table above leaves no cell out
}

// What a change of the table may never bring: a boot that is neither walled nor said to be without a wall.
static void test_posture_verdict__no_quiet_way_without_a_wall(void **s)
{
    (void)s;
    for (unsigned i = 0; i < 8; i++) {
        bool can_drop = i & 1, has_accounts = i & 2, unconfined = i & 4;
        enum boot_verdict v = posture_verdict(can_drop, has_accounts, unconfined);
        if (v == BOOT_ENFORCE)
            assert_true(can_drop && has_accounts && !unconfined);
        if (v == BOOT_UNCONFINED)
            assert_true(!can_drop && !has_accounts && !unconfined);
        assert_int_equal(v == BOOT_UNCONFINED_LOUD, unconfined);
    }
}

struct question {
    const char *text; // the config
    int (*become)(void);
    int answer;
};

static int stay_root(void)
{
    return 0;
}
static int be_service(void)
{
    return privs_shed(SERVICE, SERVICE);
}
static int be_nobody_special(void)
{
    return privs_become(SERVICE, SERVICE);
}

static int root_without_powers(void)
{
    return privs_clear_caps(); // uid 0, which is the mask's word against the kernel's
}

// The service user with one of the two capabilities: half a drop is none.
static int with_only(uint32_t capability)
{
    struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
    const uint32_t bit = 1u << capability;
    struct __user_cap_data_struct d[2] = {{bit, bit, bit}, {0, 0, 0}};
    return privs_shed(SERVICE, SERVICE) < 0 || syscall(SYS_capset, &h, d) < 0 ? -1 : 0;
}
static int with_setuid_only(void)
{
    return with_only(CAP_SETUID);
}
static int with_setgid_only(void)
{
    return with_only(CAP_SETGID);
}

static int ask(void *arg)
{
    const struct question *q = arg;
    struct config *c = NULL;
    struct refusal refusal;
    struct config_file *files = calloc(1, sizeof(*files));
    files[0] = (struct config_file){strdup("/etc/ductile/config.yaml"), strdup(q->text), strlen(q->text)};
    if (config_parse(files, 1, &c, &refusal) < 0 || q->become() < 0)
        return 100;
    uid_t before = geteuid();
    int r = posture_can_drop(c);
    return r < 0 ? 101 : geteuid() != before ? 102 : r; // asked in a child: we are who we were
}

static void test_posture_can_drop__is_tried(void **s)
{
    static const char none[] = "", one[] = "accounts: {default: {uid: 64902, gid: 64902}}\n",
                      automatic[] = "accounts: {default: {}}\n"; // no id yet
    static const struct question questions[] = {
        {none, stay_root, 1},           {one, stay_root, 1},           {automatic, stay_root, 1},
        {none, be_service, 1},          {one, be_service, 1},          {automatic, be_service, 1},
        {none, be_nobody_special, 0},   {one, be_nobody_special, 0},   {automatic, be_nobody_special, 0},
        {none, root_without_powers, 0}, {one, root_without_powers, 0}, {none, with_setuid_only, 0},
        {one, with_setuid_only, 0},     {none, with_setgid_only, 0},   {one, with_setgid_only, 0},
    };
    (void)s;
    for (size_t i = 0; i < ARRAY_LEN(questions); i++) {
        int r = in_child(ask, (void *)&questions[i]);
        if (r != questions[i].answer)
            fail_msg("question %zu: %d", i, r);
    }
}

RUN(T(posture_verdict__every_cell), T(posture_verdict__no_quiet_way_without_a_wall),
    T(posture_can_drop__is_tried))
