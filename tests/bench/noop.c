// What every dropper is measured with: a static program that does nothing.
int main(void)
{
    return 0;
}
